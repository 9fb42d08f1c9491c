package queuetool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const postsuperUsage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] " +
	"[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] " +
	"[-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v (verbose)] [queue...]"

// action is what an option of postsuper does.
type action struct {
	option byte
	op     string // request
	each   string // said of each message
	total  string
}

var actions = []action{
	{'d', "delete", "removed", "Deleted"},
	{'e', "expire", "expired", "Force-expired"},
	{'f', "expire", "expired", "Force-expired"},
	{'h', "hold", "placed on hold", "Placed on hold"},
	{'H', "release", "released from hold", "Released from hold"},
	{'r', "requeue", "requeued", "Requeued"},
}

// Postsuper is postsuper(1). The queue's structure needs no repair, so -p, -s and
// -S do nothing.
func Postsuper(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(text string) int {
		fmt.Fprintf(stderr, "postsuper: fatal: %s\n", text)
		return 1
	}
	if os.Geteuid() != 0 {
		return fail("use of this command is reserved for the superuser")
	}
	dir := configDirectory()
	ids := make(map[byte][]string)
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opt := args[0]
		args = args[1:]
		if strings.Trim(opt[1:], "psSv") == "" {
			continue
		}
		value := opt[2:]
		if value == "" {
			if len(args) == 0 {
				return fail(postsuperUsage)
			}
			value, args = args[0], args[1:]
		}
		switch {
		case opt[1] == 'c':
			dir = value
		case strings.IndexByte("defhHr", opt[1]) >= 0:
			ids[opt[1]] = append(ids[opt[1]], value)
		default:
			return fail(postsuperUsage)
		}
	}
	c, err := newClient(dir)
	if err != nil {
		return fail(err.Error())
	}
	for _, a := range actions {
		if len(ids[a.option]) == 0 {
			continue
		}
		if err := c.super(&a, ids[a.option], stdin, stderr); err != nil {
			return fail(err.Error())
		}
	}
	return 0
}

// super carries one action out.
func (c *client) super(a *action, ids []string, stdin io.Reader, stderr io.Writer) error {
	req := &Request{Op: a.op}
	for _, id := range ids {
		if id != "-" {
			req.IDs = appendID(req.IDs, id, stderr)
			continue
		}
		in := bufio.NewScanner(stdin)
		for in.Scan() {
			req.IDs = appendID(req.IDs, strings.TrimSpace(in.Text()), stderr)
		}
		if err := in.Err(); err != nil {
			return err
		}
	}
	count := 0
	h := handler{changed: func(id string) {
		count++
		fmt.Fprintf(stderr, "postsuper: %s: %s\n", id, a.each)
	}}
	err := c.ask(req, h)
	if errors.Is(err, errDown) {
		err = c.direct(req, h)
	}
	if err != nil {
		return err
	}
	plural := "s"
	if count == 1 {
		plural = ""
	}
	fmt.Fprintf(stderr, "postsuper: %s: %d message%s\n", a.total, count, plural)
	return nil
}

func appendID(ids []string, id string, stderr io.Writer) []string {
	if !validID(id) {
		fmt.Fprintf(stderr, "postsuper: warning: invalid mail queue id: %s\n", id)
		return ids
	}
	return append(ids, id)
}

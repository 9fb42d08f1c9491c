package queuetool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

const postsuperUsage = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] " +
	"[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id (un-hold)] [-p (purge temporary files)] " +
	"[-r queue_id (requeue)] [-s (structure fix)] [-S (redundant structure fix)][-v (verbose)] [queue...]"

// An action is what options of postsuper ask for, in the order in which it is
// done.
type action struct {
	options string
	op      string // request
	total   string
	place   int // among the totals
}

var actions = []action{
	{"d", "delete", "Deleted", 1},
	{"r", "requeue", "Requeued", 0},
	{"h", "hold", "Placed on hold", 3},
	{"ef", "expire", "Force-expired", 2},
	{"fH", "release", "Released from hold", 4},
}

// queueNames are the directories that postsuper may be restricted to. Some
// hold no messages.
var queueNames = []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "saved", "trace"}

// super is one run of postsuper.
type super struct {
	*command
	client *client
	ids    map[byte][]string // by option
	queues []string
	stdin  io.Reader
	listed []string // what stdin held
}

// Postsuper is postsuper(1). The queue's structure needs no repair, so -p, -s and
// -S do nothing. A message that is requeued keeps its ID.
func Postsuper(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &super{command: newCommand("postsuper", 1, stderr), ids: make(map[byte][]string), stdin: stdin}
	if os.Geteuid() != 0 {
		return s.Fatalf("use of this command is reserved for the superuser")
	}
	dir := getopt.ConfigDirectory()
	rest, ok := s.Options(args, "c:d:e:f:h:H:pr:sSv", func(opt byte, value string) {
		if opt == 'c' {
			dir = value
			return
		}
		s.ids[opt] = append(s.ids[opt], value)
	})
	if !ok {
		return s.Fatalf(postsuperUsage)
	}
	for _, name := range rest {
		if !slices.Contains(queueNames, name) {
			return s.Fatalf("invalid directory name: %s", name)
		}
	}
	s.queues = rest
	var err error
	if s.client, err = newClient(dir); err != nil {
		return s.Fatalf("%v", err)
	}
	if err := errors.Join(s.run(), s.client.close()); err != nil {
		return s.Fatalf("%v", err)
	}
	return 0
}

// run carries all actions out, then tells the totals.
func (s *super) run() error {
	totals := make([]string, len(actions))
	for _, a := range actions {
		ids, asked, err := s.named(a.options)
		if err != nil {
			return err
		}
		if !asked {
			continue
		}
		count, err := s.act(&a, ids)
		if err != nil {
			return err
		}
		plural := "s"
		if count == 1 {
			plural = ""
		}
		totals[a.place] = fmt.Sprintf("%s: %s: %d message%s\n", s.Name, a.total, count, plural)
	}
	_, err := io.WriteString(s.Stderr, strings.Join(totals, ""))
	return err
}

// named returns the queue IDs given with some options.
func (s *super) named(options string) (ids []string, asked bool, err error) {
	for i := range len(options) {
		for _, id := range s.ids[options[i]] {
			asked = true
			if id == "-" {
				if err := s.read(); err != nil {
					return nil, false, err
				}
				ids = append(ids, s.listed...)
				continue
			}
			ids = append(ids, s.check(id)...)
		}
	}
	return ids, asked, nil
}

// read takes queue IDs from standard input, one a line, once.
func (s *super) read() error {
	in := bufio.NewScanner(s.stdin)
	for in.Scan() {
		s.listed = append(s.listed, s.check(in.Text())...)
	}
	return in.Err()
}

// check drops what cannot be a queue ID.
func (s *super) check(id string) []string {
	if !queue.ValidID(id) {
		s.Warnf("invalid mail queue id: %s", id)
		return nil
	}
	return []string{id}
}

// maxNamed bounds the messages of one request.
const maxNamed = 1000

// act carries one action out and returns how many messages it changed. Those
// that were named are told one by one.
func (s *super) act(a *action, ids []string) (count int, err error) {
	named := !slices.Contains(ids, all)
	if !named {
		ids = []string{all}
	}
	h := handler{changed: func(id, did string) {
		count++
		if named {
			fmt.Fprintf(s.Stderr, "%s: %s: %s\n", s.Name, id, did)
		}
	}}
	for some := range slices.Chunk(ids, maxNamed) {
		if err := s.client.reach(&Request{Op: a.op, IDs: some, Queues: s.queues}, h); err != nil {
			return count, err
		}
	}
	return count, nil
}

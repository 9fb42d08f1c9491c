package queuetool

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// exitUnavailable is EX_UNAVAILABLE of sysexits(3).
const exitUnavailable = 69

const postqueueUsage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"

// Postqueue is postqueue(1).
func Postqueue(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(text string) int {
		fmt.Fprintf(stderr, "postqueue: fatal: %s\n", text)
		return exitUnavailable
	}
	dir, op, arg := configDirectory(), byte(0), ""
	for len(args) > 0 {
		opt := args[0]
		args = args[1:]
		if len(opt) < 2 || opt[0] != '-' {
			return fail(postqueueUsage)
		}
		value := opt[2:]
		needsValue := strings.IndexByte("cis", opt[1]) >= 0
		if needsValue && value == "" {
			if len(args) == 0 {
				return fail(postqueueUsage)
			}
			value, args = args[0], args[1:]
		}
		switch opt[1] {
		case 'c':
			dir = value
		case 'v':
		case 'f', 'i', 'j', 'p', 's':
			if op != 0 {
				return fail(postqueueUsage)
			}
			op, arg = opt[1], value
		default:
			return fail(postqueueUsage)
		}
	}
	c, err := newClient(dir)
	if err != nil {
		return fail(err.Error())
	}
	return c.postqueue(op, arg, stdout, stderr, fail)
}

func (c *client) postqueue(op byte, arg string, stdout, stderr io.Writer, fail func(string) int) int {
	switch op {
	case 'p', 'j':
		list := &listing{w: bufio.NewWriter(stdout), long: c.core.EnableLongQueueIDs}
		show := list.text
		if op == 'j' {
			show = list.json
		}
		err := c.list(stderr, handler{entry: show})
		if err == nil && op == 'p' {
			err = list.end()
		}
		if err = errors.Join(err, list.w.Flush()); err != nil {
			if errors.Is(err, errDown) {
				return fail("Queue report unavailable - mail system is down")
			}
			return fail(err.Error())
		}
		return 0
	case 'f':
		return c.flush(&Request{Op: "flush"}, fail)
	case 'i':
		if !validID(arg) {
			return fail(fmt.Sprintf("Cannot flush queue ID - invalid name: %q", arg))
		}
		return c.flush(&Request{Op: "flush-id", IDs: []string{arg}}, fail)
	case 's':
		return c.flush(&Request{Op: "flush-site", Site: arg}, fail)
	}
	return fail(postqueueUsage)
}

// validID reports whether s can be a queue ID.
func validID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// list lists the queue; root's command reads it itself when the mta is down.
func (c *client) list(stderr io.Writer, h handler) error {
	err := c.ask(&Request{Op: "list"}, h)
	if !errors.Is(err, errDown) || os.Geteuid() != 0 {
		return err
	}
	fmt.Fprintf(stderr, "postqueue: warning: Mail system is down -- accessing queue directly (%v)\n", errors.Unwrap(err))
	return c.direct(&Request{Op: "list"}, h)
}

func (c *client) flush(req *Request, fail func(string) int) int {
	err := c.ask(req, handler{})
	if errors.Is(err, errDown) {
		return fail("Cannot flush mail queue - mail system is down")
	}
	if err != nil {
		return fail(err.Error())
	}
	return 0
}

// Mailq is mailq(1): postqueue -p.
func Mailq(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return Postqueue(append([]string{"-p"}, args...), stdin, stdout, stderr)
}

// A listing writes the queue as postqueue -p and -j do.
type listing struct {
	w     *bufio.Writer
	long  bool
	count int
	bytes int64
}

// status is the character behind the queue ID.
func status(e *Entry) string {
	switch {
	case e.Queue == "active":
		return "*"
	case e.Queue == "hold":
		return "!"
	case e.Expired:
		return "#"
	}
	return ""
}

func (l *listing) text(e *Entry) error {
	if l.count == 0 {
		if l.long {
			fmt.Fprintf(l.w, "%-17s %8s %-19s %s\n", "----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
		} else {
			fmt.Fprintf(l.w, "%-11s %7s %-20s %s\n", "-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------")
		}
	}
	l.count++
	l.bytes += e.Size
	id, arrival := e.ID+status(e), time.Unix(e.Arrival, 0).Format(time.ANSIC)
	if l.long {
		fmt.Fprintf(l.w, "%-17s %8d %19.19s %s\n", id, e.Size, arrival, e.Sender)
	} else {
		fmt.Fprintf(l.w, "%-11s %7d %20.20s %s\n", id, e.Size, arrival+" ", e.Sender)
	}
	last := ""
	for _, r := range e.Recipients {
		if r.Reason != "" && r.Reason != last {
			fmt.Fprintf(l.w, "%76s\n", "("+r.Reason+")")
			last = r.Reason
		}
		fmt.Fprintf(l.w, "%41s%s\n", "", r.Address)
	}
	_, err := l.w.WriteString("\n")
	return err
}

func (l *listing) end() error {
	if l.count == 0 {
		_, err := l.w.WriteString("Mail queue is empty\n")
		return err
	}
	plural := "s"
	if l.count == 1 {
		plural = ""
	}
	_, err := fmt.Fprintf(l.w, "-- %d Kbytes in %d Request%s.\n", l.bytes/1024, l.count, plural)
	return err
}

// json writes an entry on one line with a blank after each comma and colon.
func (l *listing) json(e *Entry) error {
	s := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			return []byte(`""`)
		}
		return b
	}
	fmt.Fprintf(l.w, `{"queue_name": %s, "queue_id": %s, "arrival_time": %d, "message_size": %d, "forced_expire": %t, "sender": %s, "recipients": [`,
		s(e.Queue), s(e.ID), e.Arrival, e.Size, e.Expired, s(e.Sender))
	for i, r := range e.Recipients {
		if i > 0 {
			l.w.WriteString(", ") //nolint:errcheck // the buffer keeps its first error
		}
		fmt.Fprintf(l.w, `{"address": %s`, s(r.Address))
		if r.Reason != "" {
			fmt.Fprintf(l.w, `, "delay_reason": %s`, s(r.Reason))
		}
		l.w.WriteByte('}') //nolint:errcheck // as above
	}
	_, err := l.w.WriteString("]}\n")
	return err
}

package queuetool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Exit statuses of sysexits(3).
const (
	exitUnavailable = 69
	exitTempFail    = 75
)

const postqueueUsage = "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | postqueue -s site"

// Postqueue is postqueue(1).
func Postqueue(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := newCommand("postqueue", exitUnavailable, stderr)
	dir, ops, arg := getopt.ConfigDirectory(), "", ""
	rest, ok := cmd.Options(args, "c:fi:jps:v", func(opt byte, value string) {
		switch opt {
		case 'c':
			dir = value
		case 'v':
		default:
			ops += string(opt)
			arg = value
		}
	})
	if !ok || len(rest) > 0 || len(ops) != 1 {
		return cmd.Fatalf(postqueueUsage)
	}
	c, err := newClient(dir)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	switch ops {
	case "p", "j":
		return c.list(cmd, ops == "j", stdout)
	case "i":
		if !queue.ValidID(arg) {
			return cmd.Fatalf("Cannot flush queue ID - invalid name: \"%s\"", arg)
		}
		return c.flush(cmd, &Request{Op: "flush-id", IDs: []string{arg}})
	case "s":
		if !smtp.ValidDomain(arg) {
			return cmd.Fatalf("Cannot flush mail queue - invalid destination: \"%s\"", arg)
		}
		return c.flush(cmd, &Request{Op: "flush-site", Site: arg})
	}
	return c.flush(cmd, &Request{Op: "flush"})
}

// list lists the queue; root's command reads it itself when the mta is down.
func (c *client) list(cmd *command, asJSON bool, stdout io.Writer) int {
	l := lister{w: bufio.NewWriter(stdout), long: c.core.EnableLongQueueIDs}
	h := handler{entry: l.text}
	if asJSON {
		h.entry = l.json
	}
	req := &Request{Op: "list"}
	err := c.ask(req, h)
	var down *downError
	if errors.As(err, &down) {
		text := "Connect to the " + c.core.MailName + " showq service: " + reason(down.errno)
		switch {
		case down.errno == syscall.EACCES:
			return cmd.Fatalf("%s", text)
		case os.Geteuid() != 0:
			return cmd.Fatalf("Queue report unavailable - mail system is down (%s)", text)
		}
		cmd.Warnf("Mail system is down -- accessing queue directly (%s)", text)
		err = c.direct(req, h)
	}
	if err == nil && !asJSON {
		err = l.end()
	}
	if err = errors.Join(err, l.w.Flush(), c.close()); err != nil {
		return cmd.Fatalf("%v", err)
	}
	return 0
}

func (c *client) flush(cmd *command, req *Request) int {
	err := c.ask(req, handler{})
	var down *downError
	if errors.As(err, &down) {
		if req.Op != "flush" || down.errno == syscall.EACCES {
			cmd.Warnf("%v", down)
		}
		return cmd.Fatalf("Cannot flush mail queue - mail system is down")
	}
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	return 0
}

// mailqOptions are those of sendmail(1), which mailq is by another name. All
// but -C and those that ask for something else say nothing to it.
const mailqOptions = "A:B:C:F:GIL:N:O:R:UV:X:b:e:f:h:imno:p:q:r:tvx"

// Mailq is mailq(1): postqueue -p.
func Mailq(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := newCommand("mailq", exitTempFail, stderr)
	list := []string{"-p"}
	rest, ok := cmd.Options(args, mailqOptions, func(opt byte, value string) {
		if opt == 'C' {
			list = append(list, "-c", value)
		}
	})
	switch {
	case !ok:
		return cmd.Fatalf("usage: mailq [options]")
	case len(rest) > 0:
		return cmd.Fatalf("display queue mode requires no recipient")
	}
	return Postqueue(list, stdin, stdout, stderr)
}

// A lister writes the queue as postqueue -p and -j do.
type lister struct {
	w     *bufio.Writer
	long  bool
	count int
	bytes int64
	line  []byte // kept for the next one
}

// status is what stands behind the queue ID.
func status(e *Entry) string {
	mark := ""
	switch e.Queue {
	case "active":
		mark = "*"
	case "hold":
		mark = "!"
	}
	if e.Expired {
		mark += "#"
	}
	return mark
}

func (l *lister) text(e *Entry) error {
	if l.count == 0 {
		if l.long {
			fmt.Fprintf(l.w, "%-17s %8s %-19s %s\n", "----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
		} else {
			fmt.Fprintf(l.w, "%-11s %7s %-20s %s\n", "-Queue ID-", "--Size--", "----Arrival Time----", "-Sender/Recipient-------")
		}
	}
	l.count++
	l.bytes += e.Size
	id, size, arrival := e.ID+status(e), strconv.FormatInt(e.Size, 10), time.Unix(e.Arrival, 0).Format(time.ANSIC)
	line := l.line[:0]
	column := 41
	if l.long {
		column = 47
		line = appendPadded(line, id, -17)
		line = appendPadded(append(line, ' '), size, 8)
		line = appendPadded(append(line, ' '), cutTo(arrival, 19), 19)
	} else {
		line = appendPadded(line, id, -11)
		line = appendPadded(append(line, ' '), size, 7)
		line = appendPadded(append(line, ' '), cutTo(arrival+" ", 20), 20)
	}
	line = append(append(append(line, ' '), e.Sender...), '\n')
	last := ""
	for _, r := range e.Recipients {
		if r.Reason != "" && r.Reason != last {
			line = append(appendPadded(line, "("+r.Reason+")", 78), '\n')
			last = r.Reason
		}
		line = append(append(appendPadded(line, "", column), r.Address...), '\n')
	}
	l.line = append(line, '\n')
	_, err := l.w.Write(l.line)
	return err
}

// appendPadded appends text in a column of a width, to its left where that is
// negative, as printf does.
func appendPadded(b []byte, text string, width int) []byte {
	pad := max(width, -width) - utf8.RuneCountInString(text)
	if width < 0 {
		b = append(b, text...)
	}
	for range pad {
		b = append(b, ' ')
	}
	if width < 0 {
		return b
	}
	return append(b, text...)
}

func cutTo(s string, n int) string { return s[:min(len(s), n)] }

func (l *lister) end() error {
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

// json writes an entry on one line.
func (l *lister) json(e *Entry) error {
	l.line = append(appendEntry(l.line[:0], e), '\n')
	_, err := l.w.Write(l.line)
	return err
}

package queuetool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

const postcatUsage = "usage: postcat -q [-beh] [-c config_dir] queue_id..."

// parts are what of a message postcat shows.
type parts struct{ envelope, header, body bool }

// Postcat is postcat(1) for messages of the queue (-q).
func Postcat(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(text string) int {
		fmt.Fprintf(stderr, "postcat: fatal: %s\n", text)
		return 1
	}
	dir, byID, p := configDirectory(), false, parts{}
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opts := args[0][1:]
		args = args[1:]
		for i := range len(opts) {
			switch opts[i] {
			case 'q':
				byID = true
			case 'e':
				p.envelope = true
			case 'h':
				p.header = true
			case 'b':
				p.body = true
			case 'c':
				if len(args) == 0 {
					return fail(postcatUsage)
				}
				dir, args = args[0], args[1:]
			case 'd', 'n', 'o', 'r', 'v':
			default:
				return fail(postcatUsage)
			}
		}
	}
	if !byID || len(args) == 0 {
		return fail(postcatUsage)
	}
	if p == (parts{}) {
		p = parts{true, true, true}
	}
	c, err := newClient(dir)
	if err != nil {
		return fail(err.Error())
	}
	w := bufio.NewWriter(stdout)
	if err := errors.Join(c.cat(args, p, w), w.Flush()); err != nil {
		return fail(err.Error())
	}
	return 0
}

func (c *client) cat(ids []string, p parts, w *bufio.Writer) error {
	var entry *Entry
	h := handler{
		entry:   func(e *Entry) error { entry = e; return nil },
		content: func(env *queue.Envelope, r io.Reader) error { return p.show(entry, env, r, w) },
	}
	for _, id := range ids {
		req := &Request{Op: "cat", IDs: []string{id}}
		err := c.ask(req, h)
		if errors.Is(err, errDown) && os.Geteuid() == 0 {
			err = c.direct(req, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// show writes one message as postcat does. Content has LF line ends there.
func (p parts) show(e *Entry, env *queue.Envelope, r io.Reader, w *bufio.Writer) error {
	// Like Postfix: markers only where envelope records are shown.
	if p.envelope {
		fmt.Fprintf(w, "*** ENVELOPE RECORDS %s/%s ***\n", e.Queue, e.ID)
		p.records(e, env, w)
	}
	if p.header || p.body {
		if p.envelope {
			fmt.Fprintf(w, "*** MESSAGE CONTENTS %s/%s ***\n", e.Queue, e.ID)
		}
		if err := p.text(r, w); err != nil {
			return err
		}
	}
	if p.envelope {
		fmt.Fprintf(w, "*** HEADER EXTRACTED %s/%s ***\n*** MESSAGE FILE END %s/%s ***\n", e.Queue, e.ID, e.Queue, e.ID)
	}
	return nil
}

func (p parts) records(e *Entry, env *queue.Envelope, w *bufio.Writer) {
	arrival := time.Unix(e.Arrival, 0).Format(time.ANSIC)
	fmt.Fprintf(w, "message_size: %15d %15d %15d %15d %15d %15d\n", e.Size, 0, len(env.Recipients), 0, e.Size, 0)
	fmt.Fprintf(w, "message_arrival_time: %s\ncreate_time: %s\n", arrival, arrival)
	attr := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "named_attribute: %s=%s\n", name, value)
		}
	}
	attr("rewrite_context", env.RewriteContext)
	attr("client_name", env.Client.Name)
	attr("client_address", env.Client.Addr)
	attr("client_port", env.Client.Port)
	attr("helo_name", env.Client.Helo)
	attr("protocol_name", env.Client.Proto)
	attr("sasl_method", env.SASL.Method)
	attr("sasl_username", env.SASL.Username)
	if env.FullName != "" {
		fmt.Fprintf(w, "sender_fullname: %s\n", env.FullName)
	}
	fmt.Fprintf(w, "sender: %s\n", env.Sender)
	for i := range env.Recipients {
		r := &env.Recipients[i]
		attr("dsn_orig_rcpt", r.DSNOrcpt)
		fmt.Fprintf(w, "original_recipient: %s\nrecipient: %s\n", r.Original, r.Address)
	}
}

// text copies the header, the body or both.
func (p parts) text(r io.Reader, w *bufio.Writer) error {
	in := bufio.NewReader(r)
	header := true
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			err = nil
		}
		if len(line) > 0 {
			if header && len(bytes.TrimRight(line, "\r\n")) == 0 {
				header = false
			}
			if header && p.header || !header && p.body {
				w.WriteString(strings.Replace(string(line), "\r\n", "\n", 1)) //nolint:errcheck // the buffer keeps its first error
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

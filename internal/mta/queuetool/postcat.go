package queuetool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

const postcatUsage = "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] " +
	"[-h (header text)] [-q (access queue)] [-v] [file(s)...]"

// parts are what of a message postcat shows.
type parts struct{ envelope, header, body bool }

// Postcat is postcat(1) for messages of the queue (-q). Other files are never
// queue files: the queue has none that can be copied.
func Postcat(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := newCommand("postcat", 1, stderr)
	dir, byID, p := getopt.ConfigDirectory(), false, parts{}
	rest, ok := cmd.Options(args, "bc:dehnoqrs:v", func(opt byte, value string) {
		switch opt {
		case 'b':
			p.body = true
		case 'c':
			dir = value
		case 'e':
			p.envelope = true
		case 'h':
			p.header = true
		case 'q':
			byID = true
		}
	})
	if !ok {
		return cmd.Fatalf(postcatUsage)
	}
	if !byID {
		return cmd.catFiles(rest)
	}
	if p == (parts{}) {
		p = parts{true, true, true}
	}
	for _, id := range rest {
		if !queue.ValidID(id) {
			return cmd.Fatalf("bad mail queue ID: %s", id)
		}
	}
	c, err := newClient(dir)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	w := bufio.NewWriter(stdout)
	if err := errors.Join(c.cat(rest, p, w), w.Flush(), c.close()); err != nil {
		return cmd.Fatalf("%v", err)
	}
	return 0
}

// catFiles says of files that they are not what postcat shows.
func (cmd *command) catFiles(names []string) int {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			var errno syscall.Errno
			errors.As(err, &errno)
			return cmd.Fatalf("open %s: %s", name, reason(errno))
		}
		f.Close()
		cmd.Warnf("%s: input is not a valid queue file", name)
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
		err := c.reach(&Request{Op: "cat", IDs: []string{id}}, h)
		var down *downError
		if errors.As(err, &down) {
			return fmt.Errorf("open queue file %s: %s", id, reason(down.errno))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// show writes one message as postcat does: with the envelope come the marks
// between the sections, empty ones included. Content has LF line ends there.
func (p parts) show(e *Entry, env *queue.Envelope, r io.Reader, w *bufio.Writer) error {
	path := queuePath(e)
	if p.envelope {
		fmt.Fprintf(w, "*** ENVELOPE RECORDS %s ***\n", path)
		p.records(e, env, w)
		fmt.Fprintf(w, "*** MESSAGE CONTENTS %s ***\n", path)
	}
	if p.header || p.body {
		if err := p.text(r, w); err != nil {
			return err
		}
	}
	if p.envelope {
		fmt.Fprintf(w, "*** HEADER EXTRACTED %s ***\n", path)
		if env.Encoding != "" {
			fmt.Fprintf(w, "named_attribute: encoding=%s\n", env.Encoding)
		}
		fmt.Fprintf(w, "*** MESSAGE FILE END %s ***\n", path)
	}
	return nil
}

// queuePath is where Postfix has the file of a message: the deferred queue has
// directories named by the first digit of the queue ID.
func queuePath(e *Entry) string {
	if e.Queue != "deferred" {
		return e.Queue + "/" + e.ID
	}
	return fmt.Sprintf("%s/%c/%s", e.Queue, firstDigit(e.ID), e.ID)
}

// longDigits are those of long queue IDs.
const longDigits = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"

// firstDigit is the first hexadecimal digit of the microseconds in a queue ID:
// of five, with which a short one begins. A long one has four digits of its own
// for them, before the "z".
func firstDigit(id string) byte {
	end := strings.LastIndexByte(id, 'z')
	if end < 10 {
		return id[0]
	}
	usec := 0
	for i := end - 4; i < end; i++ {
		usec = usec*len(longDigits) + strings.IndexByte(longDigits, id[i])
	}
	return fmt.Sprintf("%05X", usec)[0]
}

// records shows the envelope. What the queue does not keep is left out: server
// address and port, the name of the client's address.
func (p parts) records(e *Entry, env *queue.Envelope, w *bufio.Writer) {
	arrival := time.Unix(e.Arrival, 0).Format(time.ANSIC)
	fmt.Fprintf(w, "message_size: %15d %15d %15d %15d %15d %15d\n", e.Size, 0, len(env.Recipients), 0, e.Size, 0)
	fmt.Fprintf(w, "message_arrival_time: %s\ncreate_time: %s\n", arrival, arrival)
	record := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	attr := func(name, value string) {
		if value != "" {
			record("named_attribute", name+"="+value)
		}
	}
	client := &env.Client
	if client.Addr != "" {
		attr("log_ident", e.ID)
	}
	attr("rewrite_context", env.RewriteContext)
	attr("envelope_id", env.EnvID)
	if env.Ret != 0 {
		attr("ret_flags", strconv.Itoa(int(env.Ret)))
	}
	record("sender_fullname", env.FullName)
	fmt.Fprintf(w, "sender: %s\n", env.Sender)
	attr("encoding", env.Encoding) // Postfix has it here and behind the content
	if client.Addr != "" {
		origin := client.Name + "[" + client.Addr + "]"
		for _, prefix := range []string{"log_client_", "client_"} {
			attr(prefix+"name", client.Name)
			attr(prefix+"address", client.Addr)
			attr(prefix+"port", client.Port)
			log := strings.TrimSuffix(prefix, "client_")
			if log != "" {
				attr("log_message_origin", origin)
			}
			attr(log+"helo_name", client.Helo)
			attr(log+"protocol_name", client.Proto)
		}
	}
	attr("sasl_method", env.SASL.Method)
	attr("sasl_username", env.SASL.Username)
	attr("sasl_sender", env.SASL.Sender)
	for i := range env.Recipients {
		r := &env.Recipients[i]
		if r.Expanded {
			continue // Postfix has it in a log of its own
		}
		original := r.DSNOrcpt
		if original == "" && r.Original != "" {
			original = "rfc822;" + smtp.QuoteAddress(r.Original) // cleanup(8) does so
		}
		if r.Notify != 0 {
			attr("notify_flags", strconv.Itoa(int(r.Notify)))
		}
		attr("dsn_orig_rcpt", original)
		record("original_recipient", r.Original)
		fmt.Fprintf(w, "recipient: %s\n", r.Address)
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

package queuetool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

const postcatUsage = "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record type)] [-e (envelope records)] " +
	"[-h (header text)] [-q (access queue)] [-v] [file(s)...]"

// Postcat is postcat(1): it shows messages of the queue (-q), and files of Postfix's.
func Postcat(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := newCommand("postcat", 1, stderr)
	dir, byID, start := getopt.ConfigDirectory(), false, ""
	v := &view{w: bufio.NewWriter(stdout), warn: cmd.Warnf}
	rest, ok := cmd.Options(args, "bc:dehoqrs:v", func(opt byte, value string) {
		switch opt {
		case 'b':
			v.body = true
		case 'c':
			dir = value
		case 'd':
			v.types = true
		case 'e':
			v.envelope = true
		case 'h':
			v.header = true
		case 'o':
			v.offsets = true
		case 'q':
			byID = true
		case 'r':
			v.raw = true
		case 's':
			start = value
		case 'v':
			v.verbose = true
		}
	})
	if !ok {
		return cmd.Fatalf(postcatUsage)
	}
	if start != "" {
		n, err := strconv.ParseUint(start, 10, 63)
		if err != nil {
			return cmd.Fatalf("bad offset: %s", start)
		}
		v.start = int64(n) //nolint:gosec // of 63 bits
	}
	if v.parts == (parts{}) {
		v.parts = parts{true, true, true}
	}
	var err error
	if byID && len(rest) > 0 {
		err = v.messages(dir, rest)
	} else {
		err = v.files(rest, stdin)
	}
	// What was shown before a failure stands before its message.
	if err = errors.Join(v.w.Flush(), err); err != nil {
		return cmd.Fatalf("%v", err)
	}
	return 0
}

// messages shows messages of the queue.
func (v *view) messages(dir string, ids []string) error {
	c, err := newClient(dir)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err = v.message(c, id); err != nil {
			break
		}
	}
	return errors.Join(err, c.close())
}

func (v *view) message(c *client, id string) error {
	if !queue.ValidID(id) {
		return fmt.Errorf("bad mail queue ID: %s", id)
	}
	if found, err := v.dropped(c.core.QueueDirectory, id); found || err != nil {
		return err
	}
	var entry *Entry
	err := c.reach(&Request{Op: "cat", IDs: []string{id}}, handler{
		entry:   func(e *Entry) error { entry = e; return nil },
		content: func(env *queue.Envelope, r io.Reader) error { return v.show(entry, env, r) },
	})
	var down *downError
	if errors.As(err, &down) {
		return fmt.Errorf("open queue file %s: %s", id, reason(down.errno))
	}
	return err
}

// A composer shows a message of the queue as the records that Postfix would have
// of it, at the offsets that they would have.
type composer struct {
	*view
	file *queuefile.Writer // knows the offset of the next record
}

func (c *composer) put(typ byte, data []byte) error {
	offset := c.file.Offset()
	if offset >= c.start {
		c.record(offset, queuefile.Record{Type: typ, Data: data})
	}
	return c.file.Write(typ, data)
}

func (c *composer) field(typ byte, text string) {
	c.put(typ, []byte(text)) //nolint:errcheck // no field is as long as no record can be
}

func (c *composer) attribute(name, value string) {
	if value != "" {
		c.field(queuefile.TypeAttribute, name+"="+value)
	}
}

// show shows one message with its content, lines that end in CRLF.
func (v *view) show(e *Entry, env *queue.Envelope, content io.Reader) error {
	c := &composer{view: v, file: queuefile.NewWriter(io.Discard)}
	c.begin(queuePath(e))
	c.records(e, env)
	c.field(queuefile.TypeMessage, "")
	if err := queuefile.WriteContent(c.put, content); err != nil {
		return err
	}
	c.field(queuefile.TypeExtracted, "")
	c.attribute("encoding", env.Encoding)
	c.field(queuefile.TypeEnd, "")
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
func (c *composer) records(e *Entry, env *queue.Envelope) {
	c.field(queuefile.TypeSize, (&queuefile.Size{Content: e.Size, Recipients: int64(len(env.Recipients)), Length: e.Size}).String())
	c.field(queuefile.TypeTime, strconv.FormatInt(e.Arrival, 10))
	attr := c.attribute
	attr("create_time", strconv.FormatInt(e.Arrival, 10))
	client := &env.Client
	if client.Addr != "" {
		attr("log_ident", e.ID)
	}
	attr("rewrite_context", env.RewriteContext)
	attr("envelope_id", env.EnvID)
	if env.Ret != 0 {
		attr("ret_flags", strconv.Itoa(int(env.Ret)))
	}
	if env.FullName != "" {
		c.field(queuefile.TypeFullName, env.FullName)
	}
	c.field(queuefile.TypeSender, env.Sender)
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
		if r.Original != "" {
			c.field(queuefile.TypeOriginal, r.Original)
		}
		c.field(queuefile.TypeRecipient, r.Address)
	}
}

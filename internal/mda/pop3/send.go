package pop3

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// allLines is the number of body lines that RETR sends.
const allLines = -1

// workarounds are the words of pop3_client_workarounds.
type workarounds struct {
	noNULs bool // Outlook hangs on NUL bytes: 0x80 stands for them
	addEOH bool // Outlook Express needs the empty line after the header
}

// workarounds reads the setting.
func (set *Settings) workarounds() (w workarounds, err error) {
	for word := range strings.FieldsFuncSeq(set.ClientWorkarounds, func(r rune) bool { return r == ' ' || r == ',' }) {
		switch strings.ToLower(word) {
		case "outlook-no-nuls":
			w.noNULs = true
		case "oe-ns-eoh":
			w.addEOH = true
		default:
			return w, fmt.Errorf("pop3_client_workarounds: Unknown workaround: %s", word)
		}
	}
	return w, nil
}

const readBuffer = 32 << 10

var readBuffers = sync.Pool{New: func() any { return new([readBuffer]byte) }}

// send answers RETR and TOP: the message, or its header and some lines of the
// body, with dots stuffed. What goes over the wire is added to count.
func (c *session) send(m *entry, n int, lines int64, count *int64) {
	msg, err := c.box.Message(m.uid)
	var body mailbox.Body
	if err == nil {
		body, err = msg.Open()
	}
	if err != nil {
		c.openFailed(n, err)
		return
	}
	defer body.Close()
	before := c.out.total()
	c.out.string("+OK")
	if lines == allLines {
		c.out.string(" ")
		c.out.int(m.size)
		c.out.string(" octets")
	}
	c.out.string("\r\n")
	if err := c.copy(body, lines); err != nil {
		// The client has been promised more: only closing tells that it failed.
		if c.out.err == nil {
			c.log.Errorf("INBOX: reading message UID %d failed: %v", m.uid, err)
		}
		c.ended = endClosed
		return
	}
	*count += c.out.total() - before - int64(len(".\r\n"))
}

func (c *session) openFailed(n int, err error) {
	if errors.Is(err, mailbox.ErrExpunged) {
		c.out.string("-ERR Message ")
		c.out.int(int64(n))
		c.out.string(" expunged.\r\n")
		return
	}
	c.log.Errorf("INBOX: opening message %d failed: %v", n, err)
	c.out.string("-ERR [SYS/TEMP] " + clientText(err) + "\r\n")
}

// copy sends a message as lines that end in CRLF.
func (c *session) copy(body mailbox.Body, lines int64) error {
	buf := readBuffers.Get().(*[readBuffer]byte)
	defer readBuffers.Put(buf)
	in := message.NewCRLFReader(io.NewSectionReader(body, 0, body.Size()))
	out := smtp.NewDataWriter(&c.out)
	top := topLines{left: lines, bol: true}
	for {
		n, err := in.Read(buf[:])
		piece, done := top.cut(buf[:n])
		if c.workarounds.noNULs {
			replaceNULs(piece)
		}
		if _, werr := out.Write(piece); werr != nil {
			out.Abort()
			return werr
		}
		if done || err == io.EOF { //nolint:errorlint // a reader's own
			break
		}
		if err != nil {
			out.Abort()
			return err
		}
	}
	if !top.body && c.workarounds.addEOH {
		out.Write([]byte("\r\n")) //nolint:errcheck // Close returns it
	}
	return out.Close()
}

func replaceNULs(p []byte) {
	for i := bytes.IndexByte(p, 0); i >= 0; i = bytes.IndexByte(p, 0) {
		p[i] = 0x80
	}
}

// topLines cuts a message after the header and left lines of the body.
type topLines struct {
	left int64 // body lines still wanted, or allLines
	body bool  // behind the header
	bol  bool  // at the beginning of a line
}

// cut returns the beginning of p that is wanted, and whether that was all.
func (t *topLines) cut(p []byte) (piece []byte, done bool) {
	if t.body && t.left == allLines {
		return p, false
	}
	for i := 0; i < len(p); {
		if !t.body && t.bol && p[i] == '\r' {
			t.body = true // an empty line; its LF may be in the next piece
			if t.left++; t.left == 0 {
				t.left = allLines
				return p, false
			}
		}
		if t.body && t.left == 0 {
			return p[:i], true
		}
		n := bytes.IndexByte(p[i:], '\n')
		if t.bol = n >= 0; !t.bol {
			return p, false
		}
		i += n + 1
		if t.body {
			t.left--
		}
	}
	return p, t.body && t.left == 0
}

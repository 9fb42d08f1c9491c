package asuser

import (
	"bufio"
	"bytes"
	"io"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A Copy says in which form a message is delivered, as Postfix's mail_copy(3)
// has it.
type Copy struct {
	From       bool   `json:"from,omitempty"`        // a line "From sender  date" in front
	ReturnPath bool   `json:"return_path,omitempty"` // a header Return-Path
	Quote      bool   `json:"quote,omitempty"`       // ">" in front of lines "From "
	Dot        bool   `json:"dot,omitempty"`         // "." in front of lines "."
	Blank      bool   `json:"blank,omitempty"`       // an empty line at the end
	Sender     string `json:"sender,omitempty"`
	Original   string `json:"original,omitempty"`  // for a header X-Original-To; empty for none
	Delivered  string `json:"delivered,omitempty"` // for a header Delivered-To; empty for none
	EOL        string `json:"eol,omitempty"`       // ends lines; empty is LF
}

// Mbox is the form of a message in a mailbox file.
func (c Copy) Mbox() Copy {
	c.From, c.ReturnPath, c.Quote, c.Blank = true, true, true, true
	return c
}

// header returns the lines in front of the message.
func (c *Copy) header(now time.Time) []byte {
	eol := c.eol()
	var b []byte
	if c.From {
		b = append(b, "From "...)
		if c.Sender == "" {
			b = append(b, "MAILER-DAEMON"...)
		} else {
			b = smtp.AppendAddress(b, c.Sender)
		}
		b = append(b, "  "...)
		b = now.AppendFormat(b, time.ANSIC)
		b = append(b, eol...)
	}
	if c.ReturnPath {
		b = append(b, "Return-Path: <"...)
		b = smtp.AppendAddress(b, c.Sender)
		b = append(append(b, '>'), eol...)
	}
	for _, h := range []struct{ name, addr string }{{"X-Original-To: ", c.Original}, {"Delivered-To: ", c.Delivered}} {
		if h.addr != "" {
			b = smtp.AppendAddress(append(b, h.name...), h.addr)
			b = append(b, eol...)
		}
	}
	return b
}

func (c *Copy) eol() string {
	if c.EOL == "" {
		return "\n"
	}
	return c.EOL
}

// copyBuffer is the size of the pieces in which messages are copied.
const copyBuffer = 64 << 10

// A readError is one of the message's, not of where it goes.
type readError struct{ error }

// Write writes the message to w.
func (c *Copy) Write(w io.Writer, content io.Reader, now time.Time) error {
	out := bufio.NewWriterSize(w, copyBuffer)
	out.Write(c.header(now)) //nolint:errcheck // Flush tells
	in := bufio.NewReaderSize(content, copyBuffer)
	eol := c.eol()
	for begins := true; ; {
		line, err := in.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return readError{err}
		}
		if begins && len(line) > 0 {
			if c.Quote && bytes.HasPrefix(line, fromLine) {
				out.WriteByte('>') //nolint:errcheck // as above
			}
			if c.Dot && line[0] == '.' {
				out.WriteByte('.') //nolint:errcheck // as above
			}
		}
		line, ended := bytes.CutSuffix(line, lf)
		if ended {
			line = bytes.TrimSuffix(line, cr)
		} else if err == bufio.ErrBufferFull && line[len(line)-1] == '\r' {
			in.UnreadByte() //nolint:errcheck // a byte was just read
			line = line[:len(line)-1]
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		if ended || err == io.EOF && (len(line) > 0 || !begins) {
			out.WriteString(eol) //nolint:errcheck // as above
		}
		if err == io.EOF {
			break
		}
		begins = ended
	}
	if c.Blank {
		out.WriteString(eol) //nolint:errcheck // as above
	}
	return out.Flush()
}

var (
	fromLine = []byte("From ")
	cr, lf   = []byte{'\r'}, []byte{'\n'}
)

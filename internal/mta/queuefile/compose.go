package queuefile

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// Output is a new file that a message is written to.
type Output interface {
	io.Writer
	io.WriterAt
}

// Compose writes m as a queue file, with the given content: lines that end in
// CRLF. The size record is made from what is written, but for the options in
// m.Size. The offsets of m.Recipients become those in the file.
func (m *Message) Compose(out Output, body io.Reader) error {
	buf := bufio.NewWriterSize(out, 64<<10)
	c := composer{m: m, w: NewWriter(buf)}
	size, err := c.write(body)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		// The head of the record is there already.
		_, err = out.WriteAt([]byte(size.String()), sizeRecord-int64(len(size.String())))
	}
	return err
}

// A composer writes one message. Its first error sticks.
type composer struct {
	m     *Message
	w     *Writer
	flags int64
	err   error
}

func (c *composer) put(typ byte, text string) {
	if c.err == nil {
		c.err = c.w.writeString(typ, text)
	}
}

func (c *composer) attribute(name, value string) {
	if value != "" {
		c.put(TypeAttribute, name+"="+value)
	}
}

func (c *composer) number(name string, n int) {
	if n != 0 {
		c.attribute(name, strconv.Itoa(n))
	}
}

func (c *composer) write(body io.Reader) (*Size, error) {
	m := c.m
	size := new(Size)
	if m.Size != nil {
		size.Options = m.Size.Options
	}
	c.put(TypeSize, (&Size{}).String())
	if !m.Arrival.IsZero() {
		c.put(TypeTime, fmt.Sprintf("%d %d", m.Arrival.Unix(), m.Arrival.Nanosecond()/1000))
	}
	c.origin()
	c.put(TypeSender, m.Sender)
	c.client()
	c.recipients(false)
	c.put(TypeMessage, "")
	size.Offset = c.w.Offset()
	c.body(body)
	size.Content = c.w.Offset() - size.Offset
	size.Length = size.Content
	c.put(TypeExtracted, "")
	c.extracted()
	c.put(TypeEnd, "")
	size.Recipients = int64(len(m.Recipients))
	size.Flags = c.flags
	if m.mixed() {
		size.Flags |= FlagMixed
	}
	return size, c.err
}

// mixed says whether there are recipients in both segments.
func (m *Message) mixed() bool {
	for i := range m.Recipients {
		if m.Recipients[i].Extracted != m.Recipients[0].Extracted {
			return true
		}
	}
	return false
}

// before are the attributes that stand before the sender; all others follow it.
var before = map[string]bool{AttrLogIdent: true, AttrSASLMech: true, AttrSASLUser: true, AttrSASLFrom: true}

// origin writes what stands before the sender, in Postfix's order.
func (c *composer) origin() {
	m := c.m
	if !m.Created.IsZero() {
		c.attribute(attrCreated, strconv.FormatInt(m.Created.Unix(), 10))
	}
	c.attribute(AttrLogIdent, m.Attribute(AttrLogIdent))
	c.attribute(attrContext, m.Context)
	for _, name := range []string{AttrSASLMech, AttrSASLUser, AttrSASLFrom} {
		c.attribute(name, m.Attribute(name))
	}
	c.attribute(attrEnvID, m.EnvID)
	c.number(attrRet, m.Ret)
	c.number(attrTrace, m.Trace)
	if m.FullName != "" {
		c.put(TypeFullName, m.FullName)
	}
}

// client writes what stands between sender and recipients.
func (c *composer) client() {
	m := c.m
	c.attribute(attrEncoding, m.Encoding)
	for _, a := range m.Attributes {
		if !before[a.Name] {
			c.attribute(a.Name, a.Value)
		}
	}
	if m.VERP != "" {
		c.put(TypeVERP, m.VERP)
	}
	if m.Warn != 0 {
		c.put(TypeWarn, fmt.Sprintf("%15d", m.Warn))
	}
}

// recipients writes those of one segment.
func (c *composer) recipients(extracted bool) {
	for i := range c.m.Recipients {
		r := &c.m.Recipients[i]
		if r.Extracted != extracted {
			continue
		}
		c.flags |= int64(r.Notify) << notifyShift
		c.number(attrNotify, r.Notify)
		c.attribute(attrOrcpt, r.Orcpt)
		if r.Original != "" {
			c.put(TypeOriginal, r.Original)
		}
		r.Offset = c.w.Offset()
		c.put(r.Type, r.Address)
	}
}

func (c *composer) body(body io.Reader) {
	if c.err != nil {
		return
	}
	c.err = WriteContent(c.w.Write, body)
}

// extracted writes what stands behind the content.
func (c *composer) extracted() {
	m := c.m
	if m.Filter != "" {
		c.put(TypeFilter, m.Filter)
	}
	if m.Redirect != "" {
		c.put(TypeRedirect, m.Redirect)
	}
	c.attribute(attrEncoding, m.Encoding)
	c.recipients(true)
}

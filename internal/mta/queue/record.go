package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"
)

const (
	blockSize    = 4096
	headerSize   = 40 // of a record
	segmentMagic = "dovetail queue 1"
	segmentHead  = 44
	// maxHead bounds the envelope of one message: a million recipients.
	maxHead = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A kind is the type of a record.
type kind uint8

const (
	kindBlank kind = iota
	kindMessage
	kindLarge
	kindState
	kindRemoved
	kindCut
	kindEnd
)

var errRecord = errors.New("damaged record")

// A header is the fixed part of a record.
type header struct {
	tag     uint64
	serial  uint64
	kind    kind
	head    uint32
	body    uint32
	bodyCRC uint32
}

// size returns the length of the record with its padding.
func (h *header) size() int64 {
	return align(headerSize+int64(h.head)+int64(h.body), 8)
}

func align(n, to int64) int64 { return (n + to - 1) &^ (to - 1) }

// put writes the header in front of head: b is header and head, contiguous.
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.tag)
	le.PutUint64(b[8:], h.serial)
	le.PutUint32(b[16:], uint32(h.kind))
	le.PutUint32(b[20:], h.head)
	le.PutUint32(b[24:], h.body)
	le.PutUint32(b[28:], h.bodyCRC)
	crc := crc32.Checksum(b[:32], castagnoli)
	crc = crc32.Update(crc, castagnoli, b[headerSize:headerSize+int(h.head)])
	le.PutUint32(b[32:], crc)
	le.PutUint32(b[36:], 0)
}

// parseHeader reads the fixed part, which is to be checked with its head.
func parseHeader(b []byte) (header, bool) {
	le := binary.LittleEndian
	h := header{
		tag:     le.Uint64(b[0:]),
		serial:  le.Uint64(b[8:]),
		kind:    kind(b[16]),
		head:    le.Uint32(b[20:]),
		body:    le.Uint32(b[24:]),
		bodyCRC: le.Uint32(b[28:]),
	}
	return h, h.kind < kindEnd && h.head <= maxHead
}

// intact says whether b, header and head, is as it was written.
func intact(b []byte) bool {
	crc := crc32.Checksum(b[:32], castagnoli)
	crc = crc32.Update(crc, castagnoli, b[headerSize:])
	return crc == binary.LittleEndian.Uint32(b[32:])
}

// Flags of the head of a message.
const (
	headSMTPUTF8 = 1 << iota
	headVerify
	headHold
	headTrace // two bits: Trace
	_
)

// traceBits are the values of Trace, shifted into the flags by headTrace.
const traceBits = 3

// Flags of a recipient in the head of a message; the low bits are Notify.
const (
	rcptNotify  = 0x0f
	rcptSame    = 0x10 // Original is Address
	rcptDSNOrig = 0x20 // DSNOrcpt follows
	rcptAlias   = 0x40 // Expanded
)

// A head is the envelope of a message record.
type head struct {
	crc    uint32 // of the content
	size   int64  // of the content
	id     string
	queued time.Time
	env    Envelope
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendHead appends the head of a message record. The parts that the index
// needs come first, see brief.
func appendHead(b []byte, h *head) []byte {
	env := &h.env
	b = binary.LittleEndian.AppendUint32(b, h.crc)
	var flags byte
	if env.SMTPUTF8 {
		flags |= headSMTPUTF8
	}
	if env.Verify {
		flags |= headVerify
	}
	if env.Hold {
		flags |= headHold
	}
	flags |= env.Trace & traceBits * headTrace
	b = append(b, flags, env.Ret)
	b = binary.AppendUvarint(b, uint64(h.size))
	b = binary.AppendVarint(b, env.Arrival.UnixMicro())
	b = binary.AppendVarint(b, h.queued.UnixMicro())
	b = appendString(b, h.id)
	for _, s := range env.strings() {
		b = appendString(b, *s)
	}
	b = binary.AppendUvarint(b, uint64(len(env.Recipients)))
	for i := range env.Recipients {
		b = appendRecipient(b, &env.Recipients[i])
	}
	return b
}

// strings lists the text fields in the order in which they are stored.
func (e *Envelope) strings() [16]*string {
	return [...]*string{
		&e.Sender, &e.FullName, &e.Encoding, &e.EnvID,
		&e.Client.Name, &e.Client.Addr, &e.Client.Port, &e.Client.Proto, &e.Client.Helo,
		&e.SASL.Method, &e.SASL.Username, &e.SASL.Sender,
		&e.RewriteContext, &e.VERP, &e.Filter, &e.Redirect,
	}
}

func appendRecipient(b []byte, r *Recipient) []byte {
	flags := r.Notify & rcptNotify
	if r.Original == r.Address {
		flags |= rcptSame
	}
	if r.DSNOrcpt != "" {
		flags |= rcptDSNOrig
	}
	if r.Expanded {
		flags |= rcptAlias
	}
	b = append(b, flags)
	b = appendString(b, r.Address)
	if flags&rcptSame == 0 {
		b = appendString(b, r.Original)
	}
	if flags&rcptDSNOrig != 0 {
		b = appendString(b, r.DSNOrcpt)
	}
	return b
}

// A decoder reads the fields of a head. Its first error sticks.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() { d.err, d.b = errRecord, nil }

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uint32() uint32 {
	if len(d.b) < 4 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) micro() time.Time { return time.UnixMicro(d.varint()) }

// brief reads what the index keeps of a message.
func (d *decoder) brief(h *head) {
	h.crc = d.uint32()
	flags := d.byte()
	h.env.SMTPUTF8 = flags&headSMTPUTF8 != 0
	h.env.Verify = flags&headVerify != 0
	h.env.Hold = flags&headHold != 0
	h.env.Trace = flags / headTrace & traceBits
	h.env.Ret = d.byte()
	h.size = int64(d.uvarint())
	h.env.Arrival = d.micro()
	h.queued = d.micro()
	h.id = d.string()
	if h.size < 0 || h.id == "" {
		d.fail()
	}
}

// parseHead reads what appendHead wrote.
func parseHead(b []byte) (*head, error) {
	d := decoder{b: b}
	h := new(head)
	d.brief(h)
	for _, s := range h.env.strings() {
		*s = d.string()
	}
	n := d.uvarint()
	// A recipient takes two bytes at least.
	if n > uint64(len(d.b)/2) {
		d.fail()
		return nil, d.err
	}
	h.env.Recipients = make([]Recipient, n)
	for i := range h.env.Recipients {
		d.recipient(&h.env.Recipients[i])
	}
	if d.err != nil {
		return nil, d.err
	}
	return h, nil
}

func (d *decoder) recipient(r *Recipient) {
	flags := d.byte()
	r.Notify = flags & rcptNotify
	r.Expanded = flags&rcptAlias != 0
	r.Address = d.string()
	r.Original = r.Address
	if flags&rcptSame == 0 {
		r.Original = d.string()
	}
	if flags&rcptDSNOrig != 0 {
		r.DSNOrcpt = d.string()
	}
}

// Flags of a state record.
const (
	stateFull    = 1 << iota // replaces all that was said before
	stateHold                // on hold
	stateWarned              // the sender was told of the delay
	stateExpired             // to be returned to the sender
	stateDefer               // not fresh anymore: the time of the next attempt counts
	stateTraced              // the sender was told what was to be traced
)

// outcomeSame marks an outcome with the same texts as the one before it.
const outcomeSame = 0x80

// appendState appends the head of a state record: flags, the time of the next
// attempt (int64, seconds), and for each recipient in which its number, state
// and, unless it is done, what was said. All but stateFull and the recipients
// is filled in when the record is written.
func appendState(b []byte, full byte, outcomes []Outcome, which []int) []byte {
	b = append(b, full, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(len(which)))
	var last *Outcome
	for _, i := range which {
		o := &outcomes[i]
		b = binary.AppendUvarint(b, uint64(i))
		if o.State == Done {
			b = append(b, byte(Done))
			continue
		}
		if last != nil && o.sameText(last) {
			b = append(b, byte(o.State)|outcomeSame)
			continue
		}
		b = append(b, byte(o.State))
		for _, s := range o.strings() {
			b = appendString(b, *s)
		}
		last = o
	}
	return b
}

func (o *Outcome) strings() [5]*string {
	return [...]*string{&o.Action, &o.DSN, &o.Text, &o.RemoteMTA, &o.RemoteCode}
}

func (o *Outcome) sameText(p *Outcome) bool {
	a, b := *o, *p
	a.State, b.State = 0, 0
	return a == b
}

// parseStateBrief reads the part of a state record that the index keeps.
func parseStateBrief(b []byte) (flags byte, next int64, err error) {
	d := decoder{b: b}
	flags = d.byte()
	next = int64(d.uint64())
	return flags, next, d.err
}

// applyState changes outcomes as a state record says.
func applyState(b []byte, outcomes []Outcome) error {
	d := decoder{b: b}
	flags := d.byte()
	d.uint64()
	if flags&stateFull != 0 {
		clear(outcomes)
	}
	n := d.uvarint()
	var last Outcome
	for range n {
		i := d.uvarint()
		state := d.byte()
		if d.err != nil || i >= uint64(len(outcomes)) {
			return errRecord
		}
		same := state&outcomeSame != 0
		state &^= outcomeSame
		if State(state) > Done {
			return errRecord
		}
		if State(state) == Done {
			outcomes[i] = Outcome{State: Done}
			continue
		}
		if !same {
			for _, s := range last.strings() {
				*s = d.string()
			}
		}
		outcomes[i] = last
		outcomes[i].State = State(state)
	}
	return d.err
}

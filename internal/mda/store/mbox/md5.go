package mbox

import (
	"bytes"
	"crypto/md5"
	"hash"
)

// Digest says which header fields are hashed for the GUID of a message: the setting
// mbox_md5.
type Digest uint8

// The values of mbox_md5.
const (
	DigestAPOP3D Digest = iota // those that tell deliveries apart, as popa3d does
	DigestAll                  // all but the hidden ones
)

// A digester hashes the values of fields, in the order of the file: after the colon and one
// blank, continuation lines as they are, without line ends.
type digester struct {
	kind     Digest
	sum      hash.Hash
	received bool // a Received field was seen
	use      bool // the field being read is hashed
}

func newDigester(kind Digest) digester { return digester{kind: kind, sum: md5.New()} }

// field begins a field.
func (d *digester) field(name []byte) {
	if d.kind == DigestAll {
		d.use = true
		return
	}
	d.use = false
	switch {
	case fold(name, "delivered-to"), fold(name, "x-delivery-id"):
		d.use = true
	case fold(name, "date"), fold(name, "message-id"):
		d.use = !d.received // Received has both, and is more trusted
	case fold(name, "received"):
		d.use = !d.received
		d.received = true
	}
}

// value adds to the field.
func (d *digester) value(b []byte) {
	if d.use {
		d.sum.Write(bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r")))
	}
}

func (d *digester) result() (sum [16]byte) {
	d.sum.Sum(sum[:0])
	return sum
}

// fold compares a name without regard to case with one in lower case.
func fold(name []byte, lower string) bool {
	return len(name) == len(lower) && bytes.EqualFold(name, []byte(lower))
}

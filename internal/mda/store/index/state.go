package index

import (
	"encoding/binary"
	"sort"
	"strings"
)

// An Ext is an extension of the index, in the order of its number.
type Ext struct {
	Name        string
	Header      []byte // replaced, never changed
	ResetID     uint32
	RecordSize  uint16
	RecordAlign uint16
}

// A State is the content of a mailbox's index at one position of its log. It is
// immutable. A State is either full, or light: without messages, which is all
// that appending a message needs.
type State struct {
	Hdr      Header
	Exts     []Ext    // the caller must not change it
	Keywords []string // by number; the caller must not change it

	light       bool
	lay         *layout
	chunks      []*chunk
	starts      []int // number of the first message of each chunk
	ownChunks   bool
	shared      bool // Exts and Keywords are shared with an older state
	n           int
	modseq      uint64
	modseqZero  uint64 // stands for a stored modseq of 0
	modSeqStart modSeqStart
	logSeq      uint32
	logOff      uint32
	deleted     bool
	requests    []uint32 // uids whose expunge another process asked for
	unsynced    []Range  // uids whose mail files lack changes by another process
	keywordExt  int      // extension numbers, -1 if missing
	modseqExt   int
	curExt      int  // the extension introduced last in this log, -1 if none
	curVoid     bool // its records belong to a replaced file
	curSize     int  // record size of its intro
	skipped     bool // salvage: a part of a log could not be read
}

func newState(hdr Header, light bool) *State {
	s := &State{Hdr: hdr, light: light, modseq: 1, modseqZero: 1, curExt: -1}
	s.extsChanged()
	return s
}

// edit returns a copy of s to be changed and then published.
func (s *State) edit() *State {
	c := *s
	c.ownChunks = false
	c.shared = true
	return &c
}

// unshare makes Exts and Keywords the state's own.
func (s *State) unshare() {
	if !s.shared {
		return
	}
	s.Exts = append([]Ext(nil), s.Exts...)
	s.Keywords = append([]string(nil), s.Keywords...)
	s.shared = false
}

func (s *State) extsChanged() {
	s.keywordExt, s.modseqExt = s.ExtNumber(extKeywords), s.ExtNumber(extModSeq)
	s.lay = memoryLayout(s.Exts)
}

// Names of extensions that this package interprets.
const (
	extKeywords = "keywords"
	extModSeq   = "modseq"
)

// ExtNumber returns the number of the extension with the name, -1 for none.
func (s *State) ExtNumber(name string) int {
	for i := range s.Exts {
		if s.Exts[i].Name == name {
			return i
		}
	}
	return -1
}

// ExtHeader returns the header data of the extension with the name; nil if
// there is none.
func (s *State) ExtHeader(name string) []byte {
	if i := s.ExtNumber(name); i >= 0 {
		return s.Exts[i].Header
	}
	return nil
}

// Light tells whether the state lacks the messages.
func (s *State) Light() bool { return s.light }

// LogEnd is the offset in the log up to which the state has read it.
func (s *State) LogEnd() int64 { return int64(s.logOff) }

// Deleted tells whether the mailbox was deleted.
func (s *State) Deleted() bool { return s.deleted }

// HighestModSeq of the mailbox.
func (s *State) HighestModSeq() uint64 { return s.modseq }

// KeepsModSeq tells whether the index stores a modseq for each message.
func (s *State) KeepsModSeq() bool { return s.modseqExt >= 0 }

// ExpungeRequests returns the uids whose expunge another process asked for by
// an internal record: whoever next has the lock removes them.
func (s *State) ExpungeRequests() []uint32 { return s.requests }

// Len returns the number of messages. Messages are numbered from 0.
func (s *State) Len() int { return s.n }

func (s *State) locate(i int) (c *chunk, at int) {
	k := i / chunkLen
	if k >= len(s.starts) || s.starts[k] > i || (k+1 < len(s.starts) && s.starts[k+1] <= i) {
		k = sort.SearchInts(s.starts, i+1) - 1
	}
	return s.chunks[k], i - s.starts[k]
}

// UID of message i.
func (s *State) UID(i int) uint32 { c, at := s.locate(i); return c.uid(at) }

// Flags of message i.
func (s *State) Flags(i int) byte { c, at := s.locate(i); return c.flags(at) }

// ModSeq of message i. If the index does not keep them, it is exact for changes
// since the mailbox was opened; all others have the highest of that time. When
// the index begins to keep them, the logs say which each message has.
func (s *State) ModSeq(i int) uint64 {
	c, at := s.locate(i)
	return s.modSeqIn(c, at)
}

func (s *State) modSeqIn(c *chunk, at int) uint64 {
	if d := c.modSeq(at); d != nil && c.lay.stored == s.lay.stored {
		if v := binary.LittleEndian.Uint64(d); v != 0 {
			return v
		}
	}
	return s.modseqZero
}

// KeywordBits returns bits of the keywords of message i, bit k%8 of byte k/8
// for keyword k. The caller must not change it.
func (s *State) KeywordBits(i int) []byte { return s.ExtRecord(i, s.keywordExt) }

// ExtRecord returns the data of extension e of message i; it may be shorter
// than the extension says, or nil, for zeros. The caller must not change it.
func (s *State) ExtRecord(i, e int) []byte {
	c, at := s.locate(i)
	return c.ext(at, e)
}

// Find returns the number of the message with the uid, or that of the next
// higher one and false.
func (s *State) Find(uid uint32) (i int, ok bool) {
	k, at := s.find(uid)
	if k == len(s.chunks) {
		return s.n, false
	}
	return s.starts[k] + at, s.chunks[k].uid(at) == uid
}

// find returns the place of the first message with at least this uid.
func (s *State) find(uid uint32) (k, at int) {
	k = sort.Search(len(s.chunks), func(k int) bool { return s.chunks[k].lastUID() >= uid })
	if k < len(s.chunks) {
		at = s.chunks[k].search(uid)
	}
	return k, at
}

// Keyword returns the number of a keyword, compared as Dovecot does without
// regard to case; -1 if there is none.
func (s *State) Keyword(name string) int {
	for i, k := range s.Keywords {
		if strings.EqualFold(k, name) {
			return i
		}
	}
	return -1
}

// FirstUnseen returns the number of the first message without \Seen.
func (s *State) FirstUnseen() (i int, ok bool) {
	k, at := s.find(s.Hdr.UnseenLowwater())
	for ; k < len(s.chunks); k, at = k+1, 0 {
		c := s.chunks[k]
		for ; at < c.len(); at++ {
			if c.flags(at)&flagSeen == 0 {
				return s.starts[k] + at, true
			}
		}
	}
	return s.n, false
}

const (
	flagDeleted = 0x04
	flagSeen    = 0x08
)

// Empty returns the state of an index without messages.
func Empty() *State { return newState(newHeader(0), false) }

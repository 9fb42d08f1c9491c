package search

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
)

// A Range is a range of UIDs or sequence numbers, both ends included. Star
// stands for the last message.
type Range struct{ Min, Max uint32 }

// Star is the number for "*".
const Star = ^uint32(0)

// Op says what a Key tests.
type Op uint8

// The search keys of RFC 3501 6.4.4, RFC 5032, RFC 7162 and Dovecot's own.
const (
	All         Op = iota
	And            // all of Keys; true if there are none
	Or             // one of Keys
	Seq            // Ranges are sequence numbers of the snapshot
	UID            // Ranges are UIDs
	FlagsAll       // all of Flags are set: ANSWERED, SEEN, ...
	Recent         // RECENT
	Keyword        // Text
	ModSeq         // ModSeq or higher
	Larger         // virtual size > Size
	Smaller        // virtual size < Size
	Before         // internal date before the day Date
	On             // internal date within the day
	Since          // internal date within the day or later
	SentBefore     // the same with the Date field in its own zone
	SentOn         //
	SentSince      //
	SavedBefore    // the same with the save date
	SavedOn        //
	SavedSince     //
	Older          // internal date at least Seconds ago
	Younger        // internal date less than Seconds ago
	Header         // a field Field contains Text; empty Text: the field exists
	Body           // Text in the text of the body
	TextOp         // Text in header or body
	GUID           // the message's GUID is Text
	HasEmailID     // its EMAILID is Text
	HasThreadID    // its THREADID is Text
	MailboxName    // the mailbox is Text
	RealUID        // as UID
	MIMEPart       // a part matches Part
	InThread       // a message of the same thread, as Thread makes them, matches Keys[0]
)

// A Key is one node of a query.
type Key struct {
	Op      Op
	Not     bool
	Keys    []*Key // And, Or, InThread
	Ranges  []Range
	Flags   mailbox.Flags
	Text    string // UTF-8
	Field   string
	Size    int64
	ModSeq  uint64
	Date    time.Time // the day: only year, month and day count
	Instant bool      // Date is a moment: On is within 24 hours from it
	Seconds uint32
	Part    *PartKey
	Thread  thread.Algorithm
	Fuzzy   bool     // Header, Body, TextOp: about Text is enough (RFC 6203), where there is a full-text index
	uids    []uint32 // InThread: those that match, once they are known
}

// NeedsModSeq reports whether the query has a MODSEQ key (RFC 7162 3.1.5).
func (k *Key) NeedsModSeq() bool {
	if k.Op == ModSeq {
		return true
	}
	for _, sub := range k.Keys {
		if sub.NeedsModSeq() {
			return true
		}
	}
	return false
}

// An Env is what evaluation needs besides the mailbox.
type Env struct {
	Now         time.Time
	Location    *time.Location // of internal dates; the server's if nil, as in Dovecot
	FirstRecent uint32         // the first UID that is recent in this session
	Mailbox     string
	OldestOnly  bool // end at the first message that does not match

	FullText *FullText          // the index that spares reading messages; nil for none
	Scores   map[uint32]float64 // how well messages match, filled in from it if not nil

	// Progress, if not nil, is called before a message is opened: with how many were looked at and how many will
	// be at most. An error ends the search.
	Progress func(done, total int) error
}

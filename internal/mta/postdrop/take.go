package postdrop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// segments are the records that each part of a submission may have. The first
// ends the part.
var segments = []string{"MFSRVAin", "XLN", "EAR"}

// errCanceled says that the input ended before the submission.
var errCanceled = errors.New("canceled")

// taker copies the records of a submission that users may give.
type taker struct {
	c          *command
	in         *queuefile.Reader
	out        *file
	senders    int
	recipients int
}

// take copies a submission into f and returns why it is not taken, as a status
// for sendmail. What is no submission at all is an error.
func (c *command) take(stdin io.Reader, f *file) (status int, err error) {
	t := &taker{c: c, in: queuefile.NewReader(stdin), out: f}
	if err := f.writeTime(); err != nil {
		return 0, err
	}
	for _, expected := range segments {
		err := t.segment(expected)
		var failed *writeError
		if errors.As(err, &failed) {
			return c.writeFailed(failed.err), t.drain()
		}
		if err != nil {
			return 0, err
		}
	}
	if t.senders == 0 || t.recipients == 0 {
		return StatusBad, nil
	}
	return 0, nil
}

// segment copies the records of one part.
func (t *taker) segment(expected string) error {
	for {
		rec, err := t.next()
		if err != nil {
			return err
		}
		if strings.IndexByte(expected, rec.Type) < 0 {
			return fmt.Errorf("uid=%d: unexpected record type: %d", t.c.uid, rec.Type)
		}
		if err := t.record(rec); err != nil {
			return err
		}
		if rec.Type == expected[0] {
			return nil
		}
	}
}

// next reads a record of limited length. Other than the text of the message it
// may not have bytes that mean something to those who read it later.
func (t *taker) next() (queuefile.Record, error) {
	rec, err := t.in.Next()
	switch {
	case err == io.EOF:
		return rec, errCanceled
	case err != nil || len(rec.Data) > t.c.set.LineLengthLimit:
		return rec, fmt.Errorf("uid=%d: malformed input", t.c.uid)
	case rec.Type != queuefile.TypeLine && rec.Type != queuefile.TypePiece && bytes.ContainsAny(rec.Data, "\r\n\x00"):
		return rec, fmt.Errorf("uid=%d: null or line break in record type: %d", t.c.uid, rec.Type)
	}
	return rec, nil
}

func (t *taker) record(rec queuefile.Record) error {
	switch rec.Type {
	case queuefile.TypeSender:
		t.senders++
	case queuefile.TypeRecipient:
		t.recipients++
	case queuefile.TypeAttribute:
		name, value, err := postfix.SplitNameValue(string(rec.Data))
		if err != nil {
			t.c.warnf("uid=%d: ignoring malformed record: %v: %.200s", t.c.uid, err, rec.Data)
			return nil
		}
		if !allowed(name, value) {
			t.c.warnf("uid=%d: ignoring attribute record: %.200s=%.200s", t.c.uid, name, value)
			return nil
		}
		rec.Data = []byte(name + "=" + value)
	}
	return t.out.write(rec.Type, rec.Data)
}

// attributes are those that users may give, with the values they may have; nil
// is any.
var attributes = map[string][]string{
	"encoding":        {"7bit", "8bit", ""},
	"rewrite_context": {"local", "remote"},
	"trace_flags":     {"512", "1024"}, // of sendmail -bv and -v
	"envelope_id":     nil, "ret_flags": nil, "notify_flags": nil, "dsn_orig_rcpt": nil, "create_time": nil,
}

func allowed(name, value string) bool {
	values, ok := attributes[name]
	return ok && (values == nil || slices.Contains(values, value))
}

// drain reads what is left of a submission that is refused, so that sendmail sees
// the answer and not a broken pipe.
func (t *taker) drain() error {
	for {
		rec, err := t.in.Next()
		if err == io.EOF || err == nil && rec.Type == queuefile.TypeEnd {
			return nil
		}
		if err != nil {
			return fmt.Errorf("uid=%d: malformed input", t.c.uid)
		}
	}
}

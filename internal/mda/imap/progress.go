package imap

import (
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// progressInterval is how often a client that waits is told how far the command has come, as Dovecot's
// MAIL_STORAGE_NOTIFY_INTERVAL_SECS.
const progressInterval = 10 * time.Second

// A progress tells how far a long command has come: INPROGRESS (RFC 9585), in the words of Dovecot 2.4.
type progress struct {
	*command
	next time.Time
}

func (c *command) newProgress() *progress {
	return &progress{command: c, next: c.started.Add(c.srv.progressEvery)}
}

// report tells that done of total messages have been looked at, if it is time. An error is the connection's.
func (p *progress) report(done, total int) error {
	now := time.Now()
	if now.Before(p.next) {
		return nil
	}
	p.next = now.Add(p.srv.progressEvery)
	if err := p.put(appendProgress(p.buf(), p.tag, done, total, now.Sub(p.started))); err != nil {
		return err
	}
	return p.flush()
}

// appendProgress appends the reply. total is not 0. A tag with "]", which ends a response code, is left out.
func appendProgress(b []byte, tag string, done, total int, elapsed time.Duration) []byte {
	done = min(done, total-1)
	b = append(b, "* OK [INPROGRESS ("...)
	if tag == "" || strings.ContainsRune(tag, ']') {
		b = append(b, "NIL"...)
	} else {
		b = imapwire.AppendString(b, tag)
	}
	b = strconv.AppendInt(append(b, ' '), int64(done), 10)
	b = strconv.AppendInt(append(b, ' '), int64(total), 10)
	b = append(b, ")] Processed "...)
	b = strconv.AppendInt(b, int64(done)*100/int64(total), 10)
	b = append(b, "% of the mailbox"...)
	if done > 0 && elapsed > 0 {
		left := int64(elapsed/time.Second) * int64(total-done) / int64(done)
		b = append(b, ", ETA "...)
		b = strconv.AppendInt(b, left/60, 10)
		b = append(b, ':', byte('0'+left%60/10), byte('0'+left%10))
	}
	return append(b, "\r\n"...)
}

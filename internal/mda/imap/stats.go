package imap

import (
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// stats are what a session's log line counts (imap_logout_format).
type stats struct {
	deleted, expunged, trashed int64
	autoexpunged               int64
	hdrCount, hdrBytes         int64
	bodyCount, bodyBytes       int64
}

// logout writes the session's log line.
func (s *session) logout() {
	text, _ := dovecot.ExpandVars(s.set.LogoutFormat, s.logoutVars())
	s.log.Info("Disconnected: " + s.bye + " " + text)
}

func (s *session) logoutVars() *dovecot.Vars {
	num := func(key byte, name string, n int64) dovecot.Var {
		return dovecot.Var{Key: key, Name: name, Value: strconv.FormatInt(n, 10)}
	}
	return &dovecot.Vars{Table: []dovecot.Var{
		num('i', "input", s.conn.in),
		num('o', "output", s.conn.out),
		{Name: "session", Value: s.id},
		num(0, "fetch_hdr_count", s.stats.hdrCount),
		num(0, "fetch_hdr_bytes", s.stats.hdrBytes),
		num(0, "fetch_body_count", s.stats.bodyCount),
		num(0, "fetch_body_bytes", s.stats.bodyBytes),
		num(0, "deleted", s.stats.deleted),
		num(0, "expunged", s.stats.expunged),
		num(0, "trashed", s.stats.trashed),
		num(0, "autoexpunged", s.stats.autoexpunged),
		num(0, "appended", 0),
	}}
}

// commandStatus returns what the session was doing when its client went away,
// in parentheses.
func (s *session) commandStatus() string {
	now := time.Now()
	c := s.running
	if s.idling != nil {
		c = &s.idling.command
	}
	switch {
	case c != nil && c.progress != nil:
		return string(c.progress([]byte(" ("))) + ")"
	case c != nil && c.entry != nil:
		b := append([]byte(" ("), c.name...)
		waited := s.conn.blocked - c.blocked
		if s.idling != nil {
			waited = now.Sub(c.started)
		}
		b = append(b, " running for "...)
		b = appendSeconds(b, now.Sub(c.started)-waited)
		b = append(b, " + waiting input for "...)
		b = appendSeconds(b, waited)
		b = append(b, " secs, "...)
		b = strconv.AppendInt(b, s.conn.in-c.in, 10)
		b = append(b, " B in + "...)
		b = strconv.AppendInt(b, s.conn.out-c.out, 10)
		return string(append(b, " B out, state=wait-input)"...))
	case s.lastName == "":
		return " (No commands sent)"
	}
	b := append([]byte(" ("), s.lastName...)
	b = append(b, " finished "...)
	return string(append(appendSeconds(b, now.Sub(s.lastDone)), " secs ago)"...))
}

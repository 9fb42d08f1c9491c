package smtpd

import (
	"bytes"
	"os"
	"runtime"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// startRequest begins the time that a request, with all its content, may take. Without
// smtpd_per_request_deadline only pauses are limited.
func (s *session) startRequest() {
	rate := 0
	if s.srv.checks.RequestDeadline {
		rate = s.srv.checks.MinDataRate
	}
	s.r.SetRequest(rate)
}

// readLine sends what was answered, if the next command is not there yet, and
// returns the next line from the client.
func (s *session) readLine() ([]byte, error) {
	if bytes.IndexByte(s.r.Peek(), '\n') < 0 {
		if err := s.flush(); err != nil {
			return nil, err
		}
		s.idle.Store(!s.tx.open)
		defer s.idle.Store(false)
		if s.srv.stopping.Load() && !s.tx.open {
			return nil, os.ErrDeadlineExceeded
		}
	} else if len(s.out) > maxOut {
		if err := s.send(); err != nil {
			return nil, err
		}
	}
	if s.turn--; s.turn < 0 {
		s.turn = maxTurn
		runtime.Gosched()
	}
	line, err := s.r.ReadLine()
	if err == smtp.ErrLineTooLong {
		s.srv.log.Warningf("%s: request longer than %d: %.30s...", s.client.label, s.srv.set.LineLengthLimit, line)
		err = nil
	}
	if err == nil {
		s.heard(line)
	}
	return line, err
}

// logPipelining tells once that the client does not wait for replies.
func (s *session) logPipelining() {
	if s.pipelined {
		return
	}
	s.pipelined = true
	text := s.r.Peek()
	text = text[:min(len(text), 100)]
	s.srv.log.Infof("improper command pipelining after %s from %s: %s", s.where, s.client.label, smtp.AppendEscaped(nil, text))
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

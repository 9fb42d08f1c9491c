package system

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// maxAtOnce bounds the requests that are being answered.
const maxAtOnce = 100

// Serve answers requests until the other end is closed.
func Serve(in io.Reader, out io.Writer, lib Library) error {
	s := server{lib: lib, w: wire.NewWriter(out)}
	lines := wire.NewReader(in)
	slots := make(chan struct{}, maxAtOnce)
	var working sync.WaitGroup
	defer working.Wait()
	for {
		line, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		verb, rest, _ := wire.CutString(string(line))
		number, args, _ := wire.CutString(rest)
		id, ok := wire.ParseID([]byte(number))
		if !ok {
			return fmt.Errorf("request %s without id", verb)
		}
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			s.answer(verb, id, args)
		})
	}
}

type server struct {
	lib Library
	w   *wire.Writer
}

// answer answers one request. That the connection is broken is noticed by who reads it.
func (s *server) answer(verb string, id uint32, args string) {
	switch verb {
	case "PAM":
		v := s.lib.Authenticate(parseLogin(args))
		s.w.Append(func(b []byte) []byte { return v.appendTo(b, id) }) //nolint:errcheck // as said
	case "USER":
		s.user(id)(s.lib.Lookup(wire.Unescape(args)))
	case "UID":
		uid, err := strconv.ParseUint(args, 10, 32)
		if err != nil || s.lib.LookupID == nil {
			s.none(id, errors.Join(err, errors.New("users cannot be looked up by number")))
			return
		}
		s.user(id)(s.lib.LookupID(uint32(uid)))
	case "SHADOW":
		hash, ok, err := s.lib.Shadow(wire.Unescape(args))
		if !ok || err != nil {
			s.none(id, err)
			return
		}
		s.line("SHADOW", id, hash)
	case "LIST":
		err := s.lib.List(func(u *User) error {
			s.line("LIST", id, u.Name, number(u.UID))
			return nil
		})
		if err != nil {
			s.none(id, err)
			return
		}
		s.line("DONE", id)
	default:
		s.none(id, fmt.Errorf("unknown request %s", verb))
	}
}

// user answers with a user that was looked up.
func (s *server) user(id uint32) func(*User, error) {
	return func(u *User, err error) {
		if u == nil || err != nil {
			s.none(id, err)
			return
		}
		s.line("USER", id, u.Name, number(u.UID), number(u.GID), u.Home, u.Password, u.Shell)
	}
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// none tells that there is no such user, or that it could not be found out.
func (s *server) none(id uint32, err error) {
	if err != nil {
		s.line("ERROR", id, err.Error())
		return
	}
	s.line("NOTFOUND", id)
}

func (s *server) line(verb string, id uint32, fields ...string) {
	s.w.Append(func(b []byte) []byte { //nolint:errcheck // see answer
		b = wire.AppendID(append(b, verb...), id)
		for _, f := range fields {
			b = wire.AppendEscaped(append(b, '\t'), f)
		}
		return append(b, '\n')
	})
}

func parseLogin(args string) *Login {
	l := new(Login)
	for field := range strings.SplitSeq(args, "\t") {
		name, value, _ := strings.Cut(field, "=")
		value = wire.Unescape(value)
		switch name {
		case "service":
			l.Service = value
		case "user":
			l.User = value
		case "pass":
			l.Password = value
		case "rhost":
			l.RemoteHost = value
		case "session":
			l.Session = true
		case "setcred":
			l.SetCred = true
		}
	}
	return l
}

func (v *Verdict) appendTo(b []byte, id uint32) []byte {
	if v.Code == OK {
		b = wire.AppendField(wire.AppendID(append(b, "OK"...), id), "user", v.User)
	} else {
		b = wire.AppendField(wire.AppendID(append(b, "FAIL"...), id), "code", codeNames[v.Code])
		b = wire.AppendField(wire.AppendField(b, "step", v.Step), "text", v.Text)
		if v.AuthError {
			b = append(b, "\tautherr"...)
		}
	}
	if v.Message != "" {
		b = wire.AppendField(b, "msg", v.Message)
	}
	return append(b, '\n')
}

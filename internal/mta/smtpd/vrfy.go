package smtpd

import (
	"bytes"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// vrfy does VRFY (RFC 5321 3.5): it tells whether mail for an address would be
// taken, not where it goes.
func (s *session) vrfy(args []byte) smtp.Reply {
	if s.srv.set.DisableVRFYCommand {
		return replyNoVrfy
	}
	utf8 := false
	if i := bytes.LastIndexByte(args, ' '); i > 0 && bytes.EqualFold(args[i+1:], []byte("SMTPUTF8")) && s.srv.core.SMTPUTF8Enable {
		utf8 = true
		args = bytes.TrimSpace(args[:i])
	}
	if len(args) == 0 || bytes.IndexByte(args, ' ') >= 0 && bytes.IndexByte(args, '"') < 0 {
		if s.srv.core.SMTPUTF8Enable {
			return replySyntaxUTF8
		}
		return replySyntaxVrfy
	}
	if r := s.milterRefusesAll(); r.Code != 0 {
		return r
	}
	path, err := smtp.ParsePath(args)
	if err != nil || path.Address == "" {
		return replyBadRecipient
	}
	if r := s.badAddress(path.Address, append([]byte("x:"), args...), utf8, "VRFY"); r.Code != 0 {
		return r
	}
	s.rcptNow = path.Address
	rc := smtp.Rcpt{To: path.Address, Routed: path.Routed}
	if r, ok := s.checkRecipient("VRFY", &rc); !ok {
		return r
	}
	return reply(252, smtp.Enhanced{2, 0, 0}, string(args))
}

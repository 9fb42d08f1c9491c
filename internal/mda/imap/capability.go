package imap

import "strings"

// builtinCapability is what the server can do, in Dovecot's order; LITERAL+ and
// SPECIAL-USE follow where they apply.
const builtinCapability = "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE MULTIAPPEND UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED CONDSTORE ESEARCH WITHIN LIST-STATUS MOVE STATUS=SIZE SAVEDATE"

// Capability returns the capability list for clients that have logged in.
// imap_capability replaces it or, with a leading plus, adds to it.
func Capability(set *Settings, specialUse bool) string {
	added, adds := strings.CutPrefix(set.Capability, "+")
	if set.Capability != "" && !adds {
		return set.Capability
	}
	list := builtinCapability
	if adds {
		list += " " + added
	}
	if set.LiteralMinus {
		list += " LITERAL-"
	} else {
		list += " LITERAL+"
	}
	if specialUse {
		list += " SPECIAL-USE"
	}
	return list
}

// capability is CAPABILITY (RFC 3501 6.1.1).
func (c *command) capability() error {
	return c.write("* CAPABILITY " + c.capabilities() + "\r\n")
}

func (s *session) capabilities() string {
	return Capability(s.set, s.srv.specialUse)
}

// greeting answers the command that logged in, which the login process has left
// to this one, or greets a preauthenticated client.
func (s *session) greeting() {
	s.greeted = true
	if s.loginTag == "" {
		s.write("* PREAUTH [CAPABILITY " + s.capabilities() + "] Logged in as " + s.user.Info().Username + "\r\n")
		return
	}
	if s.untaggedCaps {
		s.write("* CAPABILITY " + s.capabilities() + "\r\n" + s.loginTag + " OK Logged in\r\n")
		return
	}
	s.write(s.loginTag + " OK [CAPABILITY " + s.capabilities() + "] Logged in\r\n")
}

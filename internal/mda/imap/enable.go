package imap

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// enable is ENABLE (RFC 5161). Names not known are ignored.
func (c *command) enable() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	line := "* ENABLED"
	for ; len(args) > 0; args = args.Rest() {
		if args[0].Kind != imapwire.Atom {
			return errArguments
		}
		for _, f := range extensions {
			if !args[0].Is(strings.ToUpper(f.name)) {
				continue
			}
			if err := c.enableFeature(f.enables); err != nil {
				return err
			}
			line += " " + f.name
		}
	}
	if line == "* ENABLED" {
		return nil // as Dovecot does; RFC 5161 would allow an empty list
	}
	return c.write(line + "\r\n")
}

// extensions are what can be enabled. IMAP4rev2 is as in RFC 9051: names in UTF-8, but VANISHED only for those
// who have enabled QRESYNC, too.
var extensions = []struct {
	name    string
	enables uint8
}{
	{"CONDSTORE", enabledCondstore},
	{"QRESYNC", enabledQResync | enabledCondstore}, // RFC 7162 3.2.3
	{"UTF8=ACCEPT", enabledUTF8},                   // RFC 6855
	{"IMAP4rev2", enabledRev2 | enabledUTF8},
	{"UIDONLY", enabledUIDOnly}, // RFC 9586
}

// isRev2 reports whether the session speaks IMAP4rev2 (RFC 9051), whose client has enabled it.
func (s *session) isRev2() bool { return s.enabled&enabledRev2 != 0 }

func (s *session) enableFeature(bits uint8) error {
	if bits&enabledCondstore != 0 {
		if err := s.enableCondstore(); err != nil {
			return err
		}
	}
	s.enabled |= bits
	if s.box == nil {
		return nil
	}
	if bits&enabledRev2 != 0 {
		s.box.forgetRecent()
	}
	if bits&enabledUIDOnly != 0 {
		s.box.forgetNumbers()
	}
	return nil
}

package imap

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

var (
	errNotUTF8       = &reply{cond: condNo, text: "Mailbox name is not valid UTF-8"}
	errNotNetUnicode = &reply{cond: condNo, code: "[CANNOT] ", text: "Mailbox name is not in Unicode Normalization Form C"}
)

// hasUTF8 reports whether the client has enabled UTF-8 (RFC 6855 3), which IMAP4rev2 includes.
func (s *session) hasUTF8() bool { return s.enabled&enabledUTF8 != 0 }

// appendName appends the name of a mailbox: in UTF-8 if the client has enabled that, else in modified UTF-7.
func (s *session) appendName(b []byte, name string) []byte {
	return s.appendEcho(b, s.encodeName(name))
}

// encodeName returns the name of a mailbox as the client writes it.
func (s *session) encodeName(name string) string {
	if s.hasUTF8() {
		return name
	}
	return store.EncodeMUTF7(name)
}

// appendEcho appends text as the client has sent it.
func (s *session) appendEcho(b []byte, text string) []byte {
	if s.hasUTF8() {
		return imapwire.AppendUTF8(b, text)
	}
	return imapwire.AppendAString(b, text)
}

// wireName returns in UTF-8 a mailbox name that the client has sent.
func (s *session) wireName(raw []byte) (name string, err error) {
	if s.hasUTF8() {
		if !utf8.Valid(raw) {
			return "", errNotUTF8
		}
		return string(raw), nil
	}
	name, ok := store.DecodeMUTF7(string(raw))
	if !ok {
		return "", errNotMUTF7
	}
	return name, nil
}

// newName checks the name of a mailbox that is to be made. RFC 9051 6.3.4 wants names in other forms than
// Net-Unicode converted or refused; one that is converted clients may not recognize.
func (s *session) newName(name string) error {
	if s.hasUTF8() && !norm.NFC.IsNormalString(name) {
		return errNotNetUnicode
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

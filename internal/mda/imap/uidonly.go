package imap

import "slices"

// UIDONLY (RFC 9586): a client that has enabled it neither sends nor is sent message numbers. FETCH replies are
// UIDFETCH ones, EXPUNGE replies VANISHED ones.

var errUIDRequired = &reply{cond: condBad, code: "[UIDREQUIRED] ", text: "Message numbers are not allowed once UIDONLY is enabled."}

func (s *session) isUIDOnly() bool { return s.enabled&enabledUIDOnly != 0 }

// usesNumbers reports whether the command has message numbers as arguments or results (RFC 9586 3.1).
func (c *command) usesNumbers() bool {
	switch c.name {
	case "COPY", "FETCH", "MOVE", "REPLACE", "SEARCH", "SORT", "STORE", "THREAD":
		return true
	}
	return false
}

// forgetNumbers drops the searches of the selected mailbox whose changes were told by number.
func (b *selected) forgetNumbers() {
	b.updates = slices.DeleteFunc(b.updates, func(u *searchUpdate) bool { return !u.uid })
}

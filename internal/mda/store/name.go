package store

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// inbox is the one name that is the same in any case (RFC 3501 5.1).
const inbox = "INBOX"

// The lengths that file systems allow a directory name and a path.
const (
	maxPart = 255
	maxName = 4096
)

// A place is a valid mailbox name with the namespace it belongs to.
type place struct {
	ns   *Namespace
	name string   // full name, INBOX in its one spelling
	disk string   // path below the directory of the mailboxes
	dir  bool     // the name ended with the separator
	guid [16]byte // LAYOUT=index: of the mailbox that is being made

	uidValidity uint32 // of the mailbox that is being made; 0 for a new one
}

// resolve checks a name and finds its namespace.
func (u *User) resolve(name string) (place, error) {
	p, err := u.resolveDir(name)
	if err == nil && p.dir {
		return place{}, invalidName("Ends with hierarchy separator")
	}
	return p, err
}

// resolveDir is resolve for names that may end with a separator.
func (u *User) resolveDir(name string) (place, error) {
	ns := u.namespaceOf(name)
	if ns == nil {
		return place{}, u.noNamespace()
	}
	if ns.unusable {
		return place{}, missingMailbox(name)
	}
	p := place{ns: ns, name: name}
	if trimmed := strings.TrimSuffix(name, string(ns.Sep)); trimmed != name && name != ns.Prefix {
		p.name, p.dir = trimmed, true
	}
	p.name = ns.canonical(p.name)
	relative := ns.relative(p.name)
	if p.name == ns.Prefix || p.name == ns.prefixName() && ns.Prefix != "" && !(ns.Inbox && p.name == inbox) && !ns.inboxAny {
		relative = ""
	}
	parts, err := ns.split(relative)
	if err != nil {
		return place{}, err
	}
	p.disk, err = ns.diskName(p.name, parts)
	return p, internal(err)
}

// canonical spells INBOX in capitals where it is the name or the first part of it.
func (ns *Namespace) canonical(name string) string {
	if ns.Inbox && len(name) >= len(inbox) && strings.EqualFold(name[:len(inbox)], inbox) &&
		(len(name) == len(inbox) || name[len(inbox)] == ns.Sep) {
		return inbox + name[len(inbox):]
	}
	return name
}

// split checks a name without its prefix and returns its parts as the list index has them.
func (ns *Namespace) split(relative string) ([]string, error) {
	switch {
	case relative == "":
		return nil, invalidName("Name is empty")
	case relative[0] == ns.Sep:
		return nil, invalidName("Begins with hierarchy separator")
	case relative[0] == '~' && !ns.st.anyName && ns.st.escapeChar == 0:
		return nil, invalidName("Begins with '~'")
	case !utf8.ValidString(relative):
		return nil, invalidName("Not valid UTF-8")
	case len(relative) > maxName:
		return nil, errTooLong
	}
	parts := strings.Split(relative, string(ns.Sep))
	for i, part := range parts {
		if err := ns.checkPart(part); err != nil {
			return nil, err
		}
		parts[i] = ns.st.encode(part)
		if len(ns.st.dirOf(parts[i])) > maxPart {
			return nil, errTooLong
		}
	}
	return parts, nil
}

// diskName returns the path of a mailbox below the directory of the mailboxes.
func (ns *Namespace) diskName(name string, parts []string) (string, error) {
	if ns.st.escapesDirs() {
		parts = ns.dirsOf(name, parts)
	}
	switch {
	case ns.st.layout == layoutIndex:
		return indexLayout{}.diskName(ns, parts)
	case ns.isOtherInbox(name):
	case ns.relative(name) == inbox && (ns.st.inbox != "" || ns.st.inboxInRoot && ns.hasInbox()):
		return inboxDisk, nil
	}
	if ns.st.inRoot() {
		disk := "." + strings.Join(parts, ".")
		if len(disk) > maxPart {
			return "", errTooLong
		}
		return disk, nil
	}
	return strings.Join(parts, "/"), nil
}

func (ns *Namespace) checkPart(part string) error {
	if ns.st.inRoot() && !ns.st.escapesDirs() {
		switch {
		case strings.IndexByte(part, '.') >= 0:
			return &Error{Code: CodeCannot, Text: "Character not allowed in mailbox name: '.'"}
		case strings.IndexByte(part, '/') >= 0:
			return invalidName("Name must not have '/' characters")
		}
	}
	switch {
	case part == "":
		return invalidName("Has adjacent hierarchy separators")
	case ns.st.layout == layoutIndex:
		return checkCharacters(part) // no directory has the name
	}
	dir := ns.st.dirOf(part)
	switch {
	case dir == ".":
		return invalidName("Contains '.' part")
	case dir == "..":
		return invalidName("Contains '..' part")
	case ns.st.reserved(dir) && !ns.st.anyName:
		return invalidName("Contains reserved name")
	case strings.IndexByte(dir, '/') >= 0:
		return &Error{Code: CodeCannot, Text: "Character not allowed in mailbox name: '/'"}
	}
	return checkCharacters(part)
}

// checkCharacters refuses what no name on disk can have.
func checkCharacters(part string) error {
	if strings.IndexByte(part, 0) >= 0 {
		return invalidName("Contains control characters")
	}
	return nil
}

// checkNew refuses names that mailboxes may have, but not get.
func (p place) checkNew() error {
	for i := range len(p.name) {
		if p.name[i] < ' ' {
			return &Error{Code: CodeCannot, Text: "Control characters not allowed in new mailbox names"}
		}
	}
	if !p.ns.st.filesAmongNames() {
		return nil
	}
	for part := range strings.SplitSeq(p.disk, "/") {
		if part == p.ns.st.subscriptions || slices.ContainsFunc(ownFiles, func(name string) bool { return strings.HasPrefix(part, name) }) {
			return invalidName("Contains reserved name")
		}
	}
	return nil
}

// ownFiles begin the names of files that mailboxes and their list have.
var ownFiles = []string{
	"dovecot.", "dovecot-uidlist", "dovecot-uidvalidity", "dovecot-keywords", "dovecot-acl", "dovecot-shared", "dovecot-vsize",
	"mailboxes.lock", maildirFolder,
}

// filesAmongNames reports whether files of a mailbox are where the directories of those
// below it are.
func (s *storage) filesAmongNames() bool {
	switch {
	case s.layout != layoutFS || s.format == "mbox":
		return false
	case s.dirName == "":
		return true
	}
	return !s.fullDirName && (s.index != "" || s.control != s.root || s.indexCache != "")
}

// encode returns the name of a part on disk.
func (s *storage) encode(part string) string {
	if s.brokenChar != 0 && strings.IndexByte(part, s.brokenChar) >= 0 {
		if raw, ok := s.unescape(part); ok {
			return raw
		}
	}
	if s.utf8 {
		return part
	}
	return EncodeMUTF7(part)
}

// decode returns the part that a directory stands for. A name that no part
// encodes to is shown as it is, or with BROKENCHAR so that it can be opened.
func (s *storage) decode(dir string) string {
	if s.utf8 && utf8.ValidString(dir) {
		return dir
	}
	if part, ok := DecodeMUTF7(dir); ok && !s.utf8 {
		return part
	}
	if s.brokenChar != 0 {
		return s.escape(dir)
	}
	return strings.ToValidUTF8(dir, "\uFFFD")
}

// escape writes what makes a name invalid as brokenChar and two hex digits.
func (s *storage) escape(dir string) string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(dir)+8)
	for i := 0; i < len(dir); i++ {
		if c := dir[i]; c == '&' || c == s.brokenChar || !printable(c) {
			b = append(b, s.brokenChar, hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, dir[i])
	}
	return string(b)
}

// unescape reverses escape for names that need it.
func (s *storage) unescape(part string) (string, bool) {
	b := make([]byte, 0, len(part))
	for i := 0; i < len(part); i++ {
		if part[i] != s.brokenChar {
			b = append(b, part[i])
			continue
		}
		if i+2 >= len(part) {
			return "", false
		}
		hi, ok1 := hexDigit(part[i+1])
		lo, ok2 := hexDigit(part[i+2])
		if !ok1 || !ok2 {
			return "", false
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	raw := string(b)
	if raw == "." || raw == ".." || strings.ContainsAny(raw, "/\x00") {
		return "", false
	}
	if _, valid := DecodeMUTF7(raw); valid {
		return "", false
	}
	return raw, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// hasInbox reports whether a mailbox INBOX of the namespace is somebody's INBOX.
func (ns *Namespace) hasInbox() bool {
	return ns.Inbox || ns.inboxAny || ns.aliasFor != nil && ns.aliasFor.Inbox
}

// isAliasInbox reports whether a name is another one of the user's own INBOX.
func (ns *Namespace) isAliasInbox(name string) bool {
	return ns.aliasFor != nil && ns.aliasFor.Inbox && name == ns.Prefix+inbox
}

// namespaceOf returns the namespace with the longest prefix that name begins
// with, or nil. That of another user is made if it has to be.
func (u *User) namespaceOf(name string) *Namespace {
	ns := u.configuredFor(name)
	if ns != nil && ns.shared != nil && len(name) > len(ns.Prefix) {
		return u.sharedNamespace(ns, name)
	}
	return ns
}

// configuredFor is namespaceOf among those of the configuration.
func (u *User) configuredFor(name string) *Namespace {
	var best *Namespace
	for _, ns := range u.namespaces {
		switch {
		case ns.Inbox && strings.EqualFold(name, inbox):
			return ns
		case best != nil && len(ns.Prefix) <= len(best.Prefix):
		case ns.hasPrefix(name), name == ns.prefixName() && ns.Prefix != "":
			best = ns
		}
	}
	return best
}

// hasPrefix reports whether name begins with the prefix, whose INBOX may be in any case.
func (ns *Namespace) hasPrefix(name string) bool {
	return strings.HasPrefix(ns.canonical(name), ns.Prefix)
}

// noNamespace is the error for a name outside of all namespaces.
func (u *User) noNamespace() error {
	for _, ns := range u.namespaces {
		if ns.Inbox {
			return &Error{Text: "Client tried to access nonexistent namespace. (Mailbox name should probably be prefixed with: " + ns.Prefix + ")"}
		}
	}
	return &Error{Text: "Client tried to access nonexistent namespace."}
}

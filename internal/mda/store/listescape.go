package store

import (
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var _ = dovecot.RegisterPlugin("listescape", "listescape_char")

// Characters that the layout does not allow in the name of a directory stand there as an
// escape character and two hex digits, if the plugin listescape is loaded. The list index has
// the names without that.

// defaultEscape is listescape_char unless the configuration says otherwise.
const defaultEscape = '\\'

// listEscape returns the character with which the plugin listescape escapes names, 0 without it.
func (u *User) listEscape(set *mailbox.Settings) (byte, error) {
	if !strings.Contains(set.Plugins, "listescape") || !slices.Contains(strings.Fields(set.Plugins), "listescape") {
		return 0, nil
	}
	char, err := u.PluginSetting("listescape_char")
	if err != nil || char == "" {
		return defaultEscape, err
	}
	return char[0], nil
}

// setEscape has names escaped. LAYOUT=index does it by itself, with a character of its own.
func (s *storage) setEscape(char byte) {
	if s.escapeChar == 0 {
		s.escapeChar = char
	}
}

// escapesDirs reports whether names of directories are escaped.
func (s *storage) escapesDirs() bool { return s.escapeChar != 0 && s.layout != layoutIndex }

// dirOf returns the directory of an encoded part.
func (s *storage) dirOf(part string) string {
	if s.escapesDirs() {
		return s.escapePart(part)
	}
	return part
}

// partOf reverses dirOf.
func (s *storage) partOf(dir string) string {
	if s.escapesDirs() {
		return unescapePart(dir, s.escapeChar)
	}
	return dir
}

// escapePart replaces what a part of a name must not have where names are split at the separator
// of the layout.
func (s *storage) escapePart(part string) string {
	if s.escapeChar == 0 {
		return part
	}
	const digits = "0123456789abcdef"
	b := make([]byte, 0, len(part)+6)
	start := true // of what could be taken for a directory
	for i := 0; i < len(part); i++ {
		c := part[i]
		if c == s.escapeChar || c == s.separator() || c == '/' || i == 0 && c == '~' || start && s.specialDir(part[i:]) {
			b = append(b, s.escapeChar, digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
		start = c == '/'
	}
	return string(b)
}

// specialDir reports whether a path begins with a directory that no mailbox can be in.
func (s *storage) specialDir(path string) bool {
	dir, _, _ := strings.Cut(path, "/")
	return dir == "." || dir == ".." || dir == s.dirName && dir != ""
}

// unescapePart reverses escapePart. Before 2.3.20, Dovecot also escaped where no directory has
// the name.
func unescapePart(part string, esc byte) string {
	if esc == 0 || strings.IndexByte(part, esc) < 0 {
		return part
	}
	b := make([]byte, 0, len(part))
	for i := 0; i < len(part); i++ {
		if part[i] == esc && i+2 < len(part) {
			hi, ok1 := hexDigit(part[i+1])
			lo, ok2 := hexDigit(part[i+2])
			if c := hi<<4 | lo; ok1 && ok2 && c != 0 {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, part[i])
	}
	return string(b)
}

// isOtherInbox reports whether a name is that of a mailbox INBOX below the prefix of the
// namespace whose INBOX has no prefix. Without the plugin there can be none.
func (ns *Namespace) isOtherInbox(name string) bool {
	return ns.Inbox && ns.Prefix != "" && ns.st.escapesDirs() && name == ns.Prefix+inbox
}

// dirsOf returns the directories of a mailbox, of whose name parts are the encoded parts.
func (ns *Namespace) dirsOf(name string, parts []string) []string {
	if ns.isOtherInbox(name) {
		return []string{ns.st.otherInboxDir()}
	}
	dirs := make([]string, len(parts))
	for i := range parts {
		dirs[i] = ns.st.dirOf(parts[i])
	}
	return dirs
}

// otherInboxDir is the directory of that mailbox: its first letter is escaped.
func (s *storage) otherInboxDir() string { return string(s.escapeChar) + "49" + inbox[1:] }

// fullDir returns the full name of a directory that is below no other.
func (ns *Namespace) fullDir(dir string) string {
	if name := ns.Prefix + inbox; ns.isOtherInbox(name) && dir == ns.st.otherInboxDir() {
		return name
	}
	return ns.full(ns.st.decode(ns.st.partOf(dir)))
}

// partsOf returns the encoded parts of a name from its directories. It changes the list.
func (ns *Namespace) partsOf(dirs []string) []string {
	for i := range dirs {
		dirs[i] = ns.st.partOf(dirs[i])
	}
	return dirs
}

// errNotListed is about a name that is left out of the list index, where it would be taken for
// another one.
var errNotListed = errors.New("the list index cannot have the name")

// listed returns the parts of a full name as the list index has them.
func (ns *Namespace) listed(name string) ([]string, error) {
	if ns.isOtherInbox(name) {
		return nil, errNotListed
	}
	return ns.split(ns.relative(name))
}

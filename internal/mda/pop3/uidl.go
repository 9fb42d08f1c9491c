package pop3

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// standardUIDL is the default format, which is made without expansion.
const standardUIDL = "%08Xu%08Xv"

// A uidlPart is a piece of pop3_uidl_format: text, and a variable after it.
type uidlPart struct {
	text  string
	key   byte // 0: none
	width int
	zero  bool // fill with zeros
	hex   bool
}

// parseUIDLFormat reads pop3_uidl_format. Its variables are %u (uid), %v
// (UIDVALIDITY), %g (GUID), and of other storages %m (MD5 of the header) and %f
// (file name); a width and the modifier X (hexadecimal) may stand before.
func parseUIDLFormat(format string) ([]uidlPart, error) {
	var parts []uidlPart
	for format != "" {
		text, rest, found := strings.Cut(format, "%")
		p := uidlPart{text: text}
		if !found {
			return append(parts, p), nil
		}
		n := 0
		for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == 'X') {
			n++
		}
		if n == len(rest) || strings.IndexByte("uvgmf%", rest[n]) < 0 {
			return nil, fmt.Errorf("Unknown pop3_uidl_format variable: %%%s", rest[:min(n+1, len(rest))])
		}
		digits := strings.Trim(rest[:n], "X")
		p.key, p.hex, p.zero = rest[n], strings.Contains(rest[:n], "X"), strings.HasPrefix(digits, "0")
		p.width, _ = strconv.Atoi(digits) // no digits: 0
		p.width = min(p.width, maxUIDL)
		parts = append(parts, p)
		format = rest[n+1:]
	}
	return parts, nil
}

// maxUIDL is the longest unique-id (RFC 1939 7).
const maxUIDL = 70

// uidls makes the unique-ids of a session's messages.
type uidls struct {
	box      *mailbox.Mailbox
	parts    []uidlPart
	validity uint32
	reuse    bool              // X-UIDL headers (pop3_reuse_xuidl)
	used     map[string]int    // pop3_uidl_duplicates=rename
	made     map[uint32]string // that are to be kept (pop3_save_uidl)
}

func (c *session) newUIDLs() (*uidls, error) {
	parts, err := parseUIDLFormat(c.set.UIDLFormat)
	if err != nil {
		return nil, err
	}
	u := &uidls{box: c.box, parts: parts, validity: c.box.Snapshot().UIDValidity(), reuse: c.set.ReuseXUIDL}
	if c.set.SaveUIDL {
		u.made = make(map[uint32]string)
	}
	if c.set.UIDLDuplicates == "rename" {
		u.used = make(map[string]int)
	}
	return u, nil
}

// of returns the unique-id of a message: the one stored with it, that of its header, or one made
// of the format.
func (u *uidls) of(uid uint32) (string, error) {
	msg, err := u.box.Message(uid)
	var stored string
	if err == nil {
		stored, err = msg.POP3UIDL()
	}
	if err != nil && !errors.Is(err, mailbox.ErrExpunged) {
		return "", err
	}
	if stored != "" {
		return u.unique(stored), nil
	}
	uidl, err := u.make(uid, msg)
	if err != nil {
		return "", err
	}
	uidl = u.unique(uidl)
	if u.made != nil {
		u.made[uid] = uidl
	}
	return uidl, nil
}

// make returns the unique-id of a message, nil if it is gone, with which none is stored.
func (u *uidls) make(uid uint32, msg *mailbox.Message) (string, error) {
	if u.reuse && msg != nil {
		uidl, err := headerUIDL(msg)
		if err != nil && !errors.Is(err, mailbox.ErrExpunged) || uidl != "" {
			return uidl, err
		}
	}
	var b []byte
	var err error
	for i := range u.parts {
		if b, err = u.append(b, &u.parts[i], uid, msg); err != nil {
			return "", err
		}
	}
	return string(b), nil
}

// headerUIDL returns the first X-UIDL header of a message, unfolded, "" if it has none. Blanks at its end stay: clients
// know the message by what Dovecot has told them.
func headerUIDL(msg *mailbox.Message) (string, error) {
	fields, err := msg.AppendFields(context.Background(), nil, []string{"X-UIDL"})
	if err != nil {
		return "", err
	}
	unfolded := strings.NewReplacer("\r\n ", " ", "\r\n\t", "\t").Replace(string(fields))
	line, _, _ := strings.Cut(unfolded, "\r\n")
	_, value, _ := strings.Cut(line, ":")
	if value = strings.TrimLeft(value, " \t"); strings.Trim(value, " \t") == "" {
		return "", nil
	}
	return value, nil
}

func (u *uidls) append(b []byte, p *uidlPart, uid uint32, msg *mailbox.Message) ([]byte, error) {
	b = append(b, p.text...)
	var value string
	switch p.key {
	case 0:
		return b, nil
	case '%':
		return append(b, '%'), nil
	case 'u':
		value = p.number(uid)
	case 'v':
		value = p.number(u.validity)
	case 'g':
		if msg == nil {
			return b, mailbox.ErrExpunged
		}
		guid, err := msg.GUID()
		if err != nil {
			return b, err
		}
		value = guid
	case 'm':
		if msg != nil && msg.KeepsHeaderMD5() {
			return u.mbox(b, p, msg)
		}
		return b, errors.New("Header MD5 not found (pop3_uidl_format=%m not supported by storage?)")
	case 'f':
		if msg != nil && msg.StorageID() != "" {
			value = msg.StorageID()
			break
		}
		return b, errors.New("File name not found (pop3_uidl_format=%f not supported by storage?)")
	}
	return append(b, p.pad(value)...), nil
}

// mbox adds the hash of the header, which is the GUID of a message in an mbox.
func (u *uidls) mbox(b []byte, p *uidlPart, msg *mailbox.Message) ([]byte, error) {
	guid, err := msg.GUID()
	return append(b, p.pad(guid)...), err
}

func (p *uidlPart) number(n uint32) string {
	if p.hex {
		return strconv.FormatUint(uint64(n), 16)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// pad applies the width: with a zero numbers are filled up, without it the
// value is cut.
func (p *uidlPart) pad(value string) string {
	switch {
	case p.zero && len(value) < p.width:
		return strings.Repeat("0", p.width-len(value)) + value
	case !p.zero && p.width > 0 && len(value) > p.width:
		return value[:p.width]
	}
	return value
}

// unique renames what was used already: the second gets "-2".
func (u *uidls) unique(uidl string) string {
	if u.used == nil {
		return uidl
	}
	u.used[uidl]++
	if n := u.used[uidl]; n > 1 {
		return uidl + "-" + strconv.Itoa(n)
	}
	return uidl
}

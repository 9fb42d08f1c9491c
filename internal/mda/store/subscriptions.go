package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
)

// The subscriptions file. Version 2 begins with a header and separates the
// parts of names by tabs; version 1, without header, by the separator of the
// layout. A file keeps its version.
const subscriptionsHeader = "V\t2\n\n"

// subscriptionsLock are the times of Dovecot's lock on the file.
var subscriptionsLock = dotlock.Options{Timeout: 120 * time.Second, Stale: 30 * time.Second}

// maxSubscriptions bounds the size of a file that is read.
const maxSubscriptions = 16 << 20

// subscriptionFile is the parsed file.
type subscriptionFile struct {
	names [][]string // parts as on disk
	v1    bool
	sep   byte // of the parts in version 1
}

func readSubscriptions(path string, sep byte) (*subscriptionFile, error) {
	data, err := readRegular(path, maxSubscriptions)
	if errors.Is(err, fs.ErrNotExist) {
		return &subscriptionFile{sep: sep}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSubscriptions(data, sep), nil
}

func parseSubscriptions(data []byte, sep byte) *subscriptionFile {
	file := &subscriptionFile{sep: sep}
	version, rest, _ := bytes.Cut(data, []byte("\n"))
	file.v1 = len(data) > 0 && !bytes.HasPrefix(version, []byte("V\t2"))
	if !file.v1 {
		data = rest
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			continue
		}
		if file.v1 {
			file.names = append(file.names, strings.Split(string(line), string(sep)))
			continue
		}
		parts := strings.Split(string(line), "\t")
		for i := range parts {
			parts[i] = tabUnescape(parts[i])
		}
		file.names = append(file.names, parts)
	}
	return file
}

// append writes the file's text.
func (f *subscriptionFile) append(b []byte) []byte {
	if !f.v1 {
		b = append(b, subscriptionsHeader...)
	}
	for _, parts := range f.names {
		for i, part := range parts {
			switch {
			case f.v1 && i > 0:
				b = append(b, f.sep)
			case i > 0:
				b = append(b, '\t')
			}
			if f.v1 {
				b = append(b, part...)
			} else {
				b = appendTabEscaped(b, part)
			}
		}
		b = append(b, '\n')
	}
	return b
}

// tabEscapes are the bytes that may not stand in a field, and their letters.
const tabEscapes = "\x000\x011\tt\rr\nn"

func appendTabEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if j := strings.IndexByte(tabEscapes, s[i]); j >= 0 && j%2 == 0 && s[i] < 0x20 {
			b = append(b, 1, tabEscapes[j+1])
			continue
		}
		b = append(b, s[i])
	}
	return b
}

func tabUnescape(s string) string {
	if strings.IndexByte(s, 1) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == 1 && i+1 < len(s) {
			i++
			c := s[i]
			for j := 1; j < len(tabEscapes); j += 2 {
				if tabEscapes[j] == c {
					c = tabEscapes[j-1]
					break
				}
			}
			b = append(b, c)
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// subscriber returns the namespace whose file has the subscriptions of ns: ns
// itself, or with subscriptions=no the one that its prefix lies in.
func (u *User) subscriber(ns *Namespace) *Namespace {
	if ns.subscriptions {
		return ns
	}
	var best *Namespace
	for _, other := range u.namespaces {
		if other.subscriptions && strings.HasPrefix(ns.Prefix, other.Prefix) &&
			(best == nil || len(other.Prefix) > len(best.Prefix)) {
			best = other
		}
	}
	return best
}

// subscriptionPath returns the file of a namespace.
func (ns *Namespace) subscriptionPath() string {
	return filepath.Join(ns.st.control, ns.st.subscriptions)
}

// subscriptionParts returns a full name as a file of ns has it.
func (ns *Namespace) subscriptionParts(name string) []string {
	if ns.isOtherInbox(name) {
		return []string{ns.st.otherInboxDir()}
	}
	parts := strings.Split(ns.relative(name), string(ns.Sep))
	for i := range parts {
		parts[i] = ns.st.escapePart(ns.st.encode(parts[i]))
	}
	return parts
}

// subscriptionName reverses subscriptionParts.
func (ns *Namespace) subscriptionName(parts []string) string {
	if len(parts) == 1 && ns.isOtherInbox(ns.fullDir(parts[0])) {
		return ns.Prefix + inbox
	}
	decoded := make([]string, len(parts))
	for i := range parts {
		decoded[i] = ns.st.decode(unescapePart(parts[i], ns.st.escapeChar))
	}
	name := strings.Join(decoded, string(ns.Sep))
	if ns.Inbox && strings.EqualFold(name, inbox) {
		return inbox
	}
	return ns.Prefix + name
}

// subscriptionsOf returns the full names subscribed in one namespace, with the
// mailboxes that will be subscribed when they are made.
func (u *User) subscriptionsOf(ns *Namespace) ([]string, error) {
	if ns.inboxAny {
		return nil, nil // with those of the namespace that all users' begin with
	}
	var names []string
	if owner := u.subscriber(ns); owner != nil && !owner.unusable {
		file, err := readSubscriptions(owner.subscriptionPath(), owner.st.separator())
		if err != nil {
			return nil, err
		}
		for _, parts := range file.names {
			name := owner.canonical(owner.subscriptionName(parts))
			if u.configuredFor(name) == ns {
				names = append(names, name)
			}
		}
	}
	for _, relative := range ns.order {
		name := ns.full(relative)
		if ns.boxes[relative].Auto != "subscribe" || slices.Contains(names, name) {
			continue
		}
		if made, err := u.made(ns, name); err != nil || made {
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// Subscriptions returns the subscribed names of all namespaces.
func (u *User) Subscriptions(ctx context.Context) ([]string, error) {
	var all []string
	for _, ns := range u.allNamespaces() {
		names, err := u.subscriptionsOf(ns)
		if err != nil {
			return nil, internal(err)
		}
		all = append(all, names...)
	}
	return all, nil
}

// Subscribe adds a name to the subscriptions. The mailbox, or one below it,
// must exist.
func (u *User) Subscribe(ctx context.Context, name string) error {
	if u.namespaceOf(name) == nil {
		return u.noNamespace()
	}
	p, err := u.resolve(name)
	if err != nil {
		return missingMailbox(name)
	}
	named, err := u.named(p)
	if err != nil {
		return internal(err)
	}
	if named && u.access.checks(p.ns) {
		if named, err = u.access.maySubscribe(p); err != nil {
			return internal(err)
		}
	}
	if !named {
		return missingMailbox(name)
	}
	return internal(u.setSubscribed(ctx, p, true))
}

// Unsubscribe removes a name from the subscriptions. It need not be there.
func (u *User) Unsubscribe(ctx context.Context, name string) error {
	p, err := u.resolve(name)
	if err != nil {
		return err
	}
	return internal(u.setSubscribed(ctx, p, false))
}

func (u *User) setSubscribed(ctx context.Context, p place, on bool) error {
	owner := u.subscriber(p.ns)
	if owner == nil || owner.unusable {
		return &Error{Code: CodeCannot, Text: "Subscriptions are not supported in this namespace"}
	}
	parts := owner.subscriptionParts(p.name)
	changed, err := owner.updateSubscriptions(ctx, func(file *subscriptionFile) bool {
		i := slices.IndexFunc(file.names, func(have []string) bool { return slices.Equal(have, parts) })
		switch {
		case on && i < 0:
			file.names = append(file.names, parts)
		case !on && i >= 0:
			file.names = slices.Delete(file.names, i, i+1)
		default:
			return false
		}
		return true
	})
	if err != nil || !changed {
		return err
	}
	kind := changeUnsubscribe
	if on {
		kind = changeSubscribe
	}
	owner.logChange(kind, nameGUID(p.name))
	return nil
}

// updateSubscriptions rewrites the file under its dotlock if change says so.
func (ns *Namespace) updateSubscriptions(ctx context.Context, change func(*subscriptionFile) bool) (bool, error) {
	if _, err := ns.open(); err != nil {
		return false, err
	}
	path := ns.subscriptionPath()
	if err := ns.ensure(filepath.Dir(path)); err != nil {
		return false, err
	}
	lock, err := dotlock.Take(ctx, path, subscriptionsLock)
	if err != nil {
		return false, err
	}
	defer lock.Release()
	file, err := readSubscriptions(path, ns.st.separator())
	if err != nil || !change(file) {
		return false, err
	}
	return true, lock.Replace(file.append(nil))
}

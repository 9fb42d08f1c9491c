package interop

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A believer is an IMAP session whose picture of the selected mailbox comes from
// what the server told it, and from nothing else.
type believer struct {
	*harness.Client
	box      string
	validity uint64
	messages []told
}

// told is what a session was told of a message.
type told struct {
	uid   uint32 // 0 if it was not told yet
	flags string // "?" if not told yet
}

// newBeliever logs in as user n.
func newBeliever(mb *harness.Mailbox, n int) (*believer, error) {
	c, err := harness.Dial(mb.IMAP)
	if err != nil {
		return nil, err
	}
	if err := c.Login(n); err != nil {
		c.Close()
		return nil, err
	}
	return &believer{Client: c}, nil
}

// enter selects a mailbox, unless it is, and brings the picture up to date.
func (b *believer) enter(name string) error {
	if b.box == name {
		if _, _, err := b.do("NOOP"); err != nil {
			return err
		}
		return b.learn()
	}
	b.box, b.messages = "", nil
	untagged, _, err := b.IMAP("SELECT " + quote(name) + " (CONDSTORE)")
	if err != nil {
		return fmt.Errorf("SELECT %s: %w", name, err)
	}
	for _, line := range untagged {
		if m := responseCode.FindStringSubmatch(line); m != nil && m[1] == "UIDVALIDITY" {
			b.validity, _ = strconv.ParseUint(m[2], 10, 64)
		}
		if err := b.believe(line); err != nil {
			return fmt.Errorf("SELECT %s: %w", name, err)
		}
	}
	b.box = name
	return b.learn()
}

// learn asks for the uids and flags of messages that are new.
func (b *believer) learn() error {
	first := slices.IndexFunc(b.messages, func(m told) bool { return m.uid == 0 || m.flags == "?" })
	if first < 0 {
		return nil
	}
	_, _, err := b.do(fmt.Sprintf("FETCH %d:* (UID FLAGS)", first+1))
	return err
}

// do is IMAP and believes the answers.
func (b *believer) do(command string) (untagged []string, ok string, err error) {
	untagged, ok, err = b.IMAP(command)
	for _, line := range untagged {
		if wrong := b.believe(line); wrong != nil {
			return nil, "", fmt.Errorf("%.100s: %w", command, wrong)
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("%.100s: %w", command, err)
	}
	return untagged, ok, nil
}

// believe takes an untagged response into the picture, with which it must agree.
func (b *believer) believe(line string) error {
	items, err := fetchItems(line)
	if err != nil {
		return err
	}
	f := strings.Fields(line)
	if len(f) < 3 {
		return nil
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return nil
	}
	known := n >= 1 && n <= len(b.messages)
	switch {
	case items != nil:
		if !known {
			return fmt.Errorf("%.100q of %d messages", line, len(b.messages))
		}
		return b.messages[n-1].update(items)
	case f[2] == "EXISTS":
		if n < len(b.messages) {
			return fmt.Errorf("%q of %d messages", line, len(b.messages))
		}
		for len(b.messages) < n {
			b.messages = append(b.messages, told{flags: "?"})
		}
	case f[2] == "EXPUNGE":
		if !known {
			return fmt.Errorf("%q of %d messages", line, len(b.messages))
		}
		b.messages = slices.Delete(b.messages, n-1, n)
	}
	return nil
}

func (m *told) update(items map[string]string) error {
	if text, ok := items["UID"]; ok {
		uid, _ := strconv.ParseUint(text, 10, 32)
		if m.uid != 0 && m.uid != uint32(uid) {
			return fmt.Errorf("the message with uid %d is said to have uid %d", m.uid, uid)
		}
		m.uid = uint32(uid)
	}
	if flags, ok := items["FLAGS"]; ok {
		m.flags = withoutRecent(flags)
	}
	return nil
}

// agrees compares the picture with what there is.
func (b *believer) agrees(v *boxView) error {
	var uids []uint32
	for _, m := range b.messages {
		uids = append(uids, m.uid)
	}
	if !slices.Equal(uids, v.UIDs) {
		return fmt.Errorf("a session was told of the uids %d in %s, there are %d", uids, b.box, v.UIDs)
	}
	for _, m := range b.messages {
		if flags := withoutRecent(v.Messages[m.uid]["FLAGS"]); m.flags != flags {
			return fmt.Errorf("a session was told that uid %d in %s has the flags %q, it has %q", m.uid, b.box, m.flags, flags)
		}
	}
	return nil
}

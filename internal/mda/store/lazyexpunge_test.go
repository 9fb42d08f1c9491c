package store

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

const lazyConf = plainConf + `mail_plugins = lazy_expunge
plugin {
  lazy_expunge = Gone
  lazy_expunge_only_last_instance = yes
}
`

// saveTest saves a message and returns its uid.
func saveTest(t *testing.T, m *mailbox.Mailbox, text string) uint32 {
	t.Helper()
	s, err := m.Save(context.Background(), mailbox.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	r, err := s.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r.UID
}

func openBox(t *testing.T, u testUser, name string) *mailbox.Mailbox {
	t.Helper()
	if err := u.Create(context.Background(), name); err != nil && !errors.As(err, new(*Error)) {
		t.Fatal(err)
	}
	m, err := u.Mailbox(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Two sessions that expunge the two instances of each message at the same time keep one of them.
func TestLazyExpungeTogether(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			ctx := context.Background()
			u := openTestUser(t, lazyConf+"mail_location = "+format+":~/mail\n", t.TempDir())
			a, b := openBox(t, u, "A"), openBox(t, u, "B")
			const messages = 20
			for range messages {
				uid := saveTest(t, a, "Subject: x\n\n")
				if _, err := a.Copy(ctx, []uint32{uid}, b); err != nil {
					t.Fatal(err)
				}
			}
			var sessions sync.WaitGroup
			for _, m := range []*mailbox.Mailbox{a, b} {
				sessions.Go(func() {
					for uid := range uint32(messages) {
						if err := m.Expunge(ctx, []uint32{uid + 1}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			sessions.Wait()
			if n := openBox(t, u, "Gone").Snapshot().Len(); n != messages {
				t.Errorf("%d messages were kept of %d", n, messages)
			}
		})
	}
}

// What cannot be kept is not expunged, and a mailbox of which it is true not deleted.
func TestLazyExpungeRefuses(t *testing.T) {
	ctx := context.Background()
	u := openTestUser(t, plainConf+`mail_plugins = lazy_expunge
plugin {
  lazy_expunge = bad//name
}
`, t.TempDir())
	m := openBox(t, u, "A")
	uid := saveTest(t, m, "Subject: x\n\n")
	if err := m.Expunge(ctx, []uint32{uid}); err == nil || errors.Is(err, mailbox.ErrNotExist) {
		t.Errorf("Expunge: %v", err)
	}
	if err := u.Delete(ctx, "A"); err == nil {
		t.Error("the mailbox was deleted")
	}
	snap, err := m.Sync(ctx)
	if err != nil || snap.Len() != 1 {
		t.Errorf("%d messages, %v", snap.Len(), err)
	}
}

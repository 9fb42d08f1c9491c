package mailbox

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Many open a mailbox while it is being created: they find it whole or not at all, and
// nobody mends what is only unfinished.
func TestOpenWhileCreating(t *testing.T) {
	w := newWorld(t)
	w.pool = NewPool(maillog.NewFunc(func(_ maillog.Level, text string) { t.Error(text) }))
	for n := range 50 {
		name := fmt.Sprintf("box%d", n)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					m, err := w.pool.Open(ctx, w.loc(name), &w.set)
					if errors.Is(err, ErrNotExist) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					m.Close()
					return
				}
			})
		}
		if err := w.pool.Create(ctx, w.loc(name), &w.set, Identity{}); err != nil {
			t.Fatal(err)
		}
		all.Wait()
	}
}

// Another process finds a mailbox that is being created, mends what looks damaged, and saves a message:
// its creator must not take that for leftovers of an older mailbox.
func TestSaveWhileCreating(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			w.format = format
			other := &world{t: t, root: w.root, pool: NewPool(maillog.NewFunc(func(maillog.Level, string) {}))}
			defer other.pool.Close()
			for n := range 100 {
				loc := w.loc(fmt.Sprintf("box%d", n))
				saved := make(chan error)
				go func() {
					err := ErrNotExist
					for errors.Is(err, ErrNotExist) {
						err = deliver(other, loc, []byte("Subject: x\n\ntext\n"))
					}
					saved <- err
				}()
				if err := w.pool.Create(ctx, loc, &w.set, Identity{}); err != nil && !errors.Is(err, ErrExists) {
					t.Fatal(err)
				}
				if err := <-saved; err != nil {
					t.Fatal(err)
				}
				w.restart()
				m := w.open(loc.Name)
				if got := m.Snapshot().Len(); got != 1 {
					t.Fatalf("%s: %d messages, one was saved", loc.Name, got)
				}
				m.Close()
			}
		})
	}
}

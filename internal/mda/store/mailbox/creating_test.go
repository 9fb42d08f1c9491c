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

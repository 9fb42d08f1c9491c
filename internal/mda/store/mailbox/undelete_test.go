package mailbox

import "testing"

// TestUndeleted takes \Deleted away from a message, in another process, while a session that has not seen that
// expunges what is deleted.
func TestUndeleted(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			w.format = format
			setMbox(&w.set)
			m := w.create("A")
			save(t, m, "Subject: 1\nMessage-ID: <1>\n\nkept\n", SaveOptions{Flags: Deleted})
			save(t, m, "Subject: 2\nMessage-ID: <2>\n\ngone\n", SaveOptions{Flags: Deleted})
			foreign := NewPool(nil) // stands for another process
			defer foreign.Close()
			f, err := foreign.Open(ctx, w.loc("A"), &w.set)
			must(t, err)
			defer f.Close()
			setFlags(t, f, []uint32{1}, FlagsRemove, Deleted)
			must(t, m.ExpungeDeleted(ctx, []uint32{1, 2}))
			wantRows(t, synced(t, m), []row{{1, 0, ""}})
		})
	}
}

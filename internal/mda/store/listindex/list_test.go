package listindex

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

var ctx = context.Background()

func newList(t *testing.T, path string, authoritative bool) *List {
	t.Helper()
	l := New(path, Options{Authoritative: authoritative})
	t.Cleanup(l.Close)
	return l
}

// names returns the names of the mailboxes in a list.
func names(t *testing.T, l *List) (list []string) {
	t.Helper()
	err := l.View(ctx, func(tree *Tree) error {
		tree.All(func(n *Node) {
			if n.Selectable() {
				list = append(list, strings.Join(n.Path(), "/"))
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func addMailbox(t *testing.T, l *List, name string) {
	t.Helper()
	err := l.Change(ctx, func(c *Change) error {
		n := c.AddPath(strings.Split(name, "/"))
		c.SetFlags(n, 0)
		c.SetMailbox(n, [16]byte{byte(len(name)), name[0], name[len(name)-1]}, 7)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestListChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.list.index")
	l, other := newList(t, path, true), newList(t, path, true)
	if err := l.View(ctx, func(*Tree) error { return nil }); !errors.Is(err, ErrNotExist) {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "a/b", "a/b/c", "x/y"} {
		addMailbox(t, l, name)
	}
	want := []string{"a", "a/b", "a/b/c", "x/y"}
	if got := names(t, other); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	status := Status{Messages: 3, Unseen: 1, Recent: 2, UIDNext: 9, HighestModSeq: 1 << 40, Size: 77, SizeUID: 8, SizeCount: 3, Log: Stamp{4, 5}, Files: Stamp{6, 7}}
	err := other.Change(ctx, func(c *Change) error {
		c.Move(c.Lookup([]string{"a"}), c.AddPath([]string{"z"}), "q")
		c.SetStatus(c.Lookup([]string{"z", "q", "b"}), &status, "maildir")
		c.Remove(c.Lookup([]string{"x"}))
		c.SetRefresh(true)
		c.SubscriptionsChanged()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*List{l, other, newList(t, path, true)} {
		if got, want := names(t, l), []string{"z/q", "z/q/b", "z/q/b/c"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		err := l.View(ctx, func(tree *Tree) error {
			if got, ok := tree.Status(tree.Lookup([]string{"z", "q", "b"}), "maildir"); !ok || got != status {
				t.Errorf("status %+v", got)
			}
			if !tree.Refresh {
				t.Error("refresh flag is lost")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	failure := errors.New("changed my mind")
	if err := l.Change(ctx, func(c *Change) error { c.AddPath([]string{"never"}); return failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	if got := names(t, l); slices.Contains(got, "never") {
		t.Errorf("got %q", got)
	}
}

// Names that were dropped do not make the file grow without end.
func TestListForgetsNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.list.index")
	l := newList(t, path, false)
	addMailbox(t, l, "kept")
	for i := range 2000 {
		name := fmt.Sprintf("a rather long name %d", i)
		addMailbox(t, l, name)
		if err := l.Change(ctx, func(c *Change) error { c.Remove(c.Lookup([]string{name})); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if size := len(l.ix.State().ExtHeader(extList.Name)); size > 4096 {
		t.Errorf("header of %d bytes", size)
	}
	if got := names(t, newList(t, path, false)); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("got %q", got)
	}
}

// More names than a header update of the old kind can hold.
func TestListOfManyNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.list.index")
	l := newList(t, path, true)
	err := l.Change(ctx, func(c *Change) error {
		for i := range 20000 {
			c.SetFlags(c.AddPath([]string{fmt.Sprintf("mailbox %d", i)}), 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, newList(t, path, true)); len(got) != 20000 {
		t.Errorf("%d names", len(got))
	}
}

// What can be read of damaged files is kept where it is nowhere else, and forgotten where it
// can be found again. Neither needs help.
func TestListDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"log cut":        func(t *testing.T, path string) { resize(t, path+".log", -7) },
		"log emptied":    func(t *testing.T, path string) { os.Truncate(path+".log", 0) },
		"log zeroed":     func(t *testing.T, path string) { overwrite(t, path+".log", 0, 40) },
		"log deleted":    func(t *testing.T, path string) { os.Remove(path + ".log") },
		"index cut":      func(t *testing.T, path string) { resize(t, path, -9) },
		"index zeroed":   func(t *testing.T, path string) { overwrite(t, path, 0, 120) },
		"all garbage":    func(t *testing.T, path string) { overwrite(t, path, 0, 60); overwrite(t, path+".log", 0, 60) },
		"garbage at end": func(t *testing.T, path string) { resize(t, path+".log", 13) },
		"a directory":    func(t *testing.T, path string) { os.Remove(path + ".log"); os.Mkdir(path+".log", 0o700) },
		"everything gone": func(t *testing.T, path string) {
			os.Remove(path)
			os.Remove(path + ".log")
			os.Remove(path + ".backup")
		},
	} {
		for _, authoritative := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", name, authoritative), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "dovecot.list.index")
				open := newList(t, path, authoritative)
				for _, name := range []string{"a", "a/b", "c"} {
					addMailbox(t, open, name)
				}
				damage(t, path)
				for _, l := range []*List{open, newList(t, path, authoritative)} {
					addMailbox(t, l, "new")
					got := names(t, l)
					if !slices.Contains(got, "new") || len(got) > 4 {
						t.Errorf("got %q", got)
					}
				}
				if authoritative && (name == "log cut" || name == "index cut" || name == "garbage at end") {
					if got := names(t, open); !slices.Equal(got, []string{"a", "a/b", "c", "new"}) && !slices.Equal(got, []string{"a", "a/b", "new"}) {
						t.Errorf("got %q", got)
					}
				}
			})
		}
	}
}

func resize(t *testing.T, path string, by int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if by > 0 {
		b = append(b, make([]byte, by)...)
	} else {
		b = b[:len(b)+by]
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, off int64, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, n), off); err != nil {
		t.Fatal(err)
	}
}

// Whatever an index says, every node of its tree has a name of its own.
func FuzzTree(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00Work\x00\x02\x00\x00\x00Projects\x00\x00\x00\x00\x00"), []byte{1, 0, 2, 1, 9, 4})
	f.Add([]byte("\x01\x01\x00\x00\x00a\x00"), []byte{1, 2, 1, 1})
	f.Fuzz(func(t *testing.T, header, nodes []byte) {
		if len(header) > 1<<12 || len(nodes) > 400 {
			return
		}
		dir, err := index.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		var tx index.Tx
		introList(&tx, len(header)+1)
		tx.ExtHeader(0, append(header[:len(header):len(header)], 1))
		var uids []uint32
		var data []byte
		for i := 0; i+1 < len(nodes); i += 2 {
			uid := uint32(i/2 + 1)
			uids = append(uids, uid)
			tx.Append(index.New{UID: uid, Flags: nodes[i] & 0x1f})
			rec := make([]byte, listRecordSize)
			rec[0], rec[4] = nodes[i], nodes[i+1]
			data = append(data, rec...)
		}
		if len(uids) > 0 {
			introList(&tx, len(header)+1)
			tx.ExtRecords(uids, listRecordSize, data)
		}
		x, err := index.Create(dir, index.Options{Base: "list"}, &tx)
		if err != nil {
			t.Skip()
		}
		defer x.Close()
		tree, _ := parse(x.State())
		if tree.Len() != len(uids) {
			t.Fatalf("%d nodes of %d", tree.Len(), len(uids))
		}
		tree.All(func(n *Node) {
			if got := tree.Lookup(n.Path()); got != n {
				t.Errorf("%q leads to %+v instead of %+v", n.Path(), got, n)
			}
		})
	})
}

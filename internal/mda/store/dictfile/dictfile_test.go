package dictfile

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestUpdate(t *testing.T) {
	for _, param := range []string{"", ":lock=fcntl", ":lock=flock"} {
		t.Run(param, func(t *testing.T) {
			dir := t.TempDir()
			d, err := New("~/sub/dict"+param, dir)
			if err != nil {
				t.Fatal(err)
			}
			set := func(key, value string) {
				t.Helper()
				err := d.Update(context.Background(), func(e Entries) bool {
					e[key] = value
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			set("priv/a", "line\nand\ttab\x01")
			set("shared/b", "")
			path := filepath.Join(dir, "sub", "dict")
			if err := os.Chmod(path, 0o640); err != nil {
				t.Fatal(err)
			}
			set("priv/c", "x")
			e, err := d.Load()
			if err != nil {
				t.Fatal(err)
			}
			want := Entries{"priv/a": "line\nand\ttab\x01", "shared/b": "", "priv/c": "x"}
			if !maps.Equal(e, want) {
				t.Errorf("%q, want %q", e, want)
			}
			if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
				t.Errorf("permissions %v, %v; want those of the old file", st.Mode(), err)
			}
			if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

// TestTogether has several write at the same time: nothing may be lost.
func TestTogether(t *testing.T) {
	for _, param := range []string{"", ":lock=fcntl"} {
		path := filepath.Join(t.TempDir(), "dict")
		var all sync.WaitGroup
		for writer := range 4 {
			all.Go(func() {
				d, err := New(path+param, "")
				for n := 0; n < 10 && err == nil; n++ {
					err = d.Update(context.Background(), func(e Entries) bool {
						e[fmt.Sprint(writer, "/", n)] = "x"
						return true
					})
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		d, _ := New(path, "")
		if e, err := d.Load(); err != nil || len(e) != 40 {
			t.Errorf("%q: %d entries, %v; want 40", param, len(e), err)
		}
	}
}

func TestMissing(t *testing.T) {
	d, err := New(filepath.Join(t.TempDir(), "none"), "")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := d.Load(); err != nil || len(e) != 0 {
		t.Errorf("%v, %v", e, err)
	}
	if err := d.Update(context.Background(), func(Entries) bool { return false }); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.path); !os.IsNotExist(err) {
		t.Errorf("a file was made for nothing: %v", err)
	}
	if _, err := New("x:lock=dotlock", ""); err == nil {
		t.Error("an unknown parameter was accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("priv/a\nvalue\nshared/b\n\x01n\x01t\x011\n"))
	f.Add([]byte("key only\n"))
	f.Add([]byte("a\nb"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e := parse(text)
		if again := parse(e.append(nil)); !maps.Equal(e, again) {
			t.Errorf("%q became %q", e, again)
		}
	})
}

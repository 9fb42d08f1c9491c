package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// TestDamagedListFiles damages each file beside the mailboxes in each way: they are listed, opened and made as
// before, and subscriptions can be changed.
func TestDamagedListFiles(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			files := damagedListFiles(t, format, "", nil)
			for _, file := range files {
				for what, damage := range listDamages {
					damagedListFiles(t, format, file, func(path string) {
						if err := damage(path); err != nil {
							t.Fatalf("%s: %s: %v", file, what, err)
						}
						t.Logf("%s: %s", file, what)
					})
				}
			}
		})
	}
}

// damageRand gives the same garbage each time.
var damageRand = rand.New(rand.NewPCG(1, 2))

var listDamages = map[string]func(path string) error{
	"deleted": os.Remove,
	"empty":   func(path string) error { return cut(path, 0) },
	"cut":     func(path string) error { return cut(path, 2) },
	"zeroed":  func(path string) error { return overwrite(path, func([]byte) byte { return 0 }) },
	"garbage": func(path string) error {
		return overwrite(path, func([]byte) byte { return byte(damageRand.IntN(256)) })
	},
	"not readable": func(path string) error { return os.Chmod(path, 0) },
	"directory":    func(path string) error { return instead(path, func() error { return os.Mkdir(path, 0o700) }) },
	"FIFO":         func(path string) error { return instead(path, func() error { return unix.Mkfifo(path, 0o600) }) },
	"symlink to itself": func(path string) error {
		return instead(path, func() error { return os.Symlink(filepath.Base(path), path) })
	},
	"symlink to nothing": func(path string) error {
		return instead(path, func() error { return os.Symlink("nowhere", path) })
	},
}

func cut(path string, part int64) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if part == 0 {
		return os.Truncate(path, 0)
	}
	return os.Truncate(path, st.Size()/part)
}

func overwrite(path string, with func([]byte) byte) error {
	data, err := os.ReadFile(path)
	for i := range data {
		data[i] = with(data)
	}
	if err == nil {
		os.Chmod(path, 0o600)
		err = os.WriteFile(path, data, 0o600)
	}
	return err
}

func instead(path string, what func() error) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return what()
}

// damagedListFiles makes mailboxes, damages a file, and uses them. It returns the files that there are.
func damagedListFiles(t *testing.T, format, file string, damage func(path string)) (files []string) {
	t.Helper()
	home := t.TempDir()
	conf := fmt.Sprintf("mail_location = %s:~/mail\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n", format)
	stuck := time.AfterFunc(3*time.Minute, func() { panic("stuck: " + format + " " + file) })
	defer stuck.Stop()
	u := openTestUser(t, conf, home)
	for _, name := range []string{"Work", "Work/Sub"} {
		if err := u.Create(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.Subscribe(t.Context(), "Work"); err != nil {
		t.Fatal(err)
	}
	saveTo(t, u.User, "Work/Sub", "Subject: kept\n\ntext\n")
	listed := names(t, u.User)
	u.Close()
	root := filepath.Join(home, "mail")
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() && strings.HasPrefix(e.Name(), "dovecot") || e.Name() == "subscriptions" {
			files = append(files, e.Name())
		}
	}
	if damage == nil {
		return files
	}
	i := slices.IndexFunc(files, func(name string) bool { return listKind(name) == listKind(file) })
	if i < 0 {
		return files
	}
	damage(filepath.Join(root, files[i]))
	u = openTestUser(t, conf, home)
	defer u.Close()
	if got := names(t, u.User); !slices.Equal(got, listed) {
		t.Errorf("%s: %q are listed, before %q", file, got, listed)
	}
	for _, err := range []error{u.Create(t.Context(), "New"), u.Subscribe(t.Context(), "New"), u.Delete(t.Context(), "Work"), u.ForceResync(t.Context(), "Work/Sub")} {
		if err != nil {
			t.Errorf("%s: %v: %v", file, err, errors.Unwrap(err))
		}
	}
	saveTo(t, u.User, "New", "Subject: new\n\ntext\n")
	if subs, err := u.Subscriptions(t.Context()); err != nil || !slices.Contains(subs, "New") {
		t.Errorf("%s: subscriptions %q, %v", file, subs, err)
	}
	m, err := u.Mailbox(t.Context(), "Work/Sub")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if n := m.Snapshot().Len(); n != 1 {
		t.Errorf("%s: %d messages", file, n)
	}
	return files
}

// listKind is the name of a file without what is different each time.
func listKind(name string) string {
	if strings.HasPrefix(name, uidValidityName+".") {
		return uidValidityName + "."
	}
	return name
}

func names(t *testing.T, u *User) (all []string) {
	t.Helper()
	list, err := u.List(t.Context(), ListQuery{Patterns: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		all = append(all, e.Name)
	}
	return all
}

func saveTo(t *testing.T, u *User, name, text string) {
	t.Helper()
	m, err := u.Mailbox(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := m.Save(t.Context(), mailbox.SaveOptions{})
	if err == nil {
		_, err = io.WriteString(s, text)
	}
	if err == nil {
		_, err = s.Commit(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

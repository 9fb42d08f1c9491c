package maildir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

const listHeader = "3 V1795337758 N6 G8924470c1cae026b617d000083ecc375"

func TestParseHead(t *testing.T) {
	long := strings.Repeat("x", headSize)
	for _, c := range []struct {
		name, begin, end string
		next             uint32 // 0 if all must be read
	}{
		{"no message", listHeader + "\n", listHeader + "\n", 6},
		{"extension", listHeader + " Xkept\n", listHeader + " Xkept\n", 6},
		{"messages", listHeader + "\n1 :a\n", "5 :b\n7 G1 :c\n", 8},
		{"header is ahead", listHeader + "\n1 :a\n", "1 :a\n3 G1 :c\n", 6},
		{"header is cut", listHeader, listHeader, 0},
		{"no GUID", "3 V1 N1\n", "3 V1 N1\n", 0},
		{"version 1", "1 1125 9\n", "3 a\n7 b\n", 0},
		{"no next uid", "3 V1 G8924470c1cae026b617d000083ecc375\n", "\n1 :a\n", 0},
		{"last line is cut", listHeader + "\n1 :a\n", "5 :b\n7 :c", 0},
		{"last line is damaged", listHeader + "\n1 :a\n", "5 :b\nwhat?\n", 0},
		{"last line is long", listHeader + "\n1 :a\n", long + "\n", 0},
		{"header is long", long, "5 :b\n7 :c\n", 0},
		{"empty", "", "", 0},
	} {
		l, ok := parseHead(c.begin, c.end)
		if ok != (c.next != 0) || ok && (l.next != c.next || l.validity == 0 || len(l.entries) > 0) {
			t.Errorf("%s: %+v, %v", c.name, l, ok)
		}
	}
}

// A message is added to a mailbox without its uidlist being read; that is done when somebody asks
// for what it has.
func TestAppendUnread(t *testing.T) {
	dir := t.TempDir()
	if err := Make(dir); err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	list.WriteString(listHeader + "\n")
	for uid := 1; uid <= 3000; uid++ {
		if uid == 1500 {
			list.WriteString("what is this?\n")
		}
		fmt.Fprintf(&list, "%d :%d.host\n", uid, 1700000000+uid)
	}
	path := filepath.Join(dir, uidlistName)
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := index.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	logged := ""
	b, err := Open(Options{
		Name: "test", Dir: d, Control: d, Flush: func(int) error { return nil },
		Log: maillog.NewFunc(func(_ maillog.Level, text string) { logged += text + "\n" }),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	unlock, err := b.Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	w := b.NewWriter()
	fmt.Fprint(w, "Subject: x\r\n\r\nx\r\n")
	if err := w.Finish(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := b.Place([]Placing{{Writer: w, UID: b.list.next}}); err != nil {
		t.Fatal(err)
	}
	unlock()
	if !b.headOnly || logged != "" {
		t.Errorf("the uidlist was read: %q", logged)
	}
	text, err := os.ReadFile(path)
	if rest, ok := strings.CutPrefix(string(text), list.String()); err != nil || !ok || rest != "3001 :"+w.base()+"\n" {
		t.Errorf("uidlist ends with %q, %v", rest, err)
	}
	for _, uid := range []uint32{1, 1499, 1500, 3001} {
		if _, ok := b.Entry(uid); !ok {
			t.Errorf("uid %d is not there", uid)
		}
	}
	if b.headOnly || !strings.Contains(logged, "line 1501") {
		t.Errorf("the uidlist was not read, or not well: %q", logged)
	}
}

package doveadm

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// backupFields are what must survive a conversion.
const backupFields = "mailbox uid flags date.received date.sent size.physical size.virtual pop3.uidl hdr body"

// destinations are where mail is converted to, beside what it was.
var destinations = []string{"sdbox:~/to", "mdbox:~/to", "maildir:~/to:LAYOUT=fs", "mbox:~/to:INBOX=~/toinbox"}

// at is the same home with another location.
func (h *home) at(location string) *home {
	other := *h
	other.location = location
	return &other
}

// guids of mbox are computed from messages, so that they cannot be kept.
func keepsGUIDs(from, to string) bool {
	return strings.HasPrefix(from, "mbox") == strings.HasPrefix(to, "mbox") || !strings.HasPrefix(to, "mbox")
}

// TestBackupConverts converts between all formats. The original program reads what
// came of it, and the original's own conversion must be the same.
func TestBackupConverts(t *testing.T) {
	for _, from := range formats {
		for _, to := range destinations {
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				a := newHome(t, from)
				a.fill()
				fields := backupFields
				if keepsGUIDs(from, to) {
					fields += " guid"
				}
				want := a.state(fields)
				if r := a.ours("", "backup", to); r != (outcome{}) {
					t.Fatalf("backup: %+v", r)
				}
				if diff := cmp.Diff(want, a.at(to).state(fields)); diff != "" {
					t.Fatalf("mail at the destination (-source +destination):\n%s", diff)
				}
				if diff := cmp.Diff(want, a.state(fields)); diff != "" {
					t.Errorf("the source was changed:\n%s", diff)
				}
			})
		}
	}
}

// uidNext stays as high as it was at the destination.
var uidNext = regexp.MustCompile(` uidnext=\d+`)

// TestBackupFollowsChanges runs backup again after changes of the source and of the
// destination.
func TestBackupFollowsChanges(t *testing.T) {
	for _, to := range destinations {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			from := "maildir:~/Maildir"
			if strings.HasPrefix(to, "maildir") {
				from = "sdbox:~/mail"
			}
			a := newHome(t, from)
			a.fill()
			dst := a.at(to)
			lower := false // the source has a lower next uid than the destination
			mail := func(h *home) string {
				if lower {
					return uidNext.ReplaceAllString(h.state(backupFields), "")
				}
				return h.state(backupFields)
			}
			check := func(what string) {
				t.Helper()
				if r := a.ours("", "backup", to); r.Code != 0 {
					t.Fatalf("%s: backup: %+v", what, r)
				}
				if diff := cmp.Diff(mail(a), mail(dst)); diff != "" {
					t.Fatalf("%s: mail at the destination (-source +destination):\n%s", what, diff)
				}
			}
			check("first")
			a.setUp(testMail(40), "save")
			a.setUp("", "flags", "replace", `\Seen Other`, "mailbox", "INBOX", "all")
			a.setUp("", "expunge", "mailbox", "Work", "uid", "1")
			check("saved, flagged, expunged")
			a.setUp("", "mailbox", "rename", "Folder/Entwürfe", "Renamed")
			a.setUp("", "mailbox", "create", "New/Below")
			a.setUp("", "mailbox", "delete", "Empty")
			a.setUp("", "mailbox", "unsubscribe", "Work")
			check("renamed, created, deleted, unsubscribed")
			a.setUp("", "expunge", "mailbox", "Work", "all")
			check("emptied")
			dst.setUp(testMail(41), "save")
			dst.setUp("", "expunge", "mailbox", "Renamed", "uid", "2")
			dst.setUp("", "flags", "add", "Foreign", "mailbox", "INBOX", "all")
			lower = true
			check("destination changed")
			lower = false
			a.setUp(testMail(42), "save")
			dst.setUp(testMail(43), "save")
			check("both got messages under one uid")
			a.setUp("", "mailbox", "delete", "Work")
			a.setUp("", "mailbox", "create", "Work")
			a.setUp(testMail(44), "save", "-m", "Work")
			check("another mailbox of the name")
		})
	}
}

// TestBackupReverse restores.
func TestBackupReverse(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	want := a.state(backupFields + " guid")
	if r := a.ours("", "backup", "mdbox:~/to"); r != (outcome{}) {
		t.Fatalf("backup: %+v", r)
	}
	a.setUp("", "expunge", "mailbox", "INBOX", "all")
	a.setUp("", "mailbox", "delete", "Work")
	if r := a.ours("", "backup", "-R", "mdbox:~/to"); r.Code != 0 {
		t.Fatalf("backup -R: %+v", r)
	}
	if diff := cmp.Diff(want, a.state(backupFields+" guid")); diff != "" {
		t.Errorf("mail after the restore (-before +after):\n%s", diff)
	}
}

// TestOneWay adds to a mailbox that has messages of its own; what is there stays,
// and a second run adds nothing.
func TestOneWay(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	to := a.at("mdbox:~/to")
	to.setUp(testMail(50), "save")
	to.setUp(testMail(51), "save")
	for range 2 {
		if r := a.ours("", "sync", "-1", "mdbox:~/to"); r != (outcome{}) {
			t.Fatalf("sync -1: %+v", r)
		}
		subjects := to.setUp("", "fetch", "hdr.subject", "mailbox", "INBOX", "all")
		if n := strings.Count(subjects, "hdr.subject:"); n != 7 || strings.Count(subjects, "mail 50")+strings.Count(subjects, "mail 51") != 2 {
			t.Errorf("INBOX has %d messages:\n%s", n, subjects)
		}
	}
}

// TestBackupSelects restricts it to mailboxes.
func TestBackupSelects(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-m", "Work", "mdbox:~/m1"}, "Work\n"},
		{[]string{"-m", "*o*", "-x", "Work", "mdbox:~/m2"}, "Folder\nFolder/Entwürfe\n"},
		{[]string{"-x", `\Trash`, "-x", "F*", "-x", "INBOX", "mdbox:~/m3"}, "Empty\nWork\n"},
	} {
		if r := a.ours("", append([]string{"backup"}, c.args...)...); r != (outcome{}) {
			t.Fatalf("backup %q: %+v", c.args, r)
		}
		var made []string
		for _, name := range strings.Fields(c.want) {
			dir := filepath.Join(a.home(), c.args[len(c.args)-1][len("mdbox:~/"):], "mailboxes", mutf7.Replace(name))
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("backup %q: %v", c.args, err)
			}
			made = append(made, name)
		}
		all, err := filepath.Glob(filepath.Join(a.home(), c.args[len(c.args)-1][len("mdbox:~/"):], "mailboxes", "*"))
		if top := strings.Count(c.want, "\n") - strings.Count(c.want, "/"); err != nil || len(all) != top {
			t.Errorf("backup %q: %d mailboxes %v, want %v (%v)", c.args, len(all), all, made, err)
		}
	}
}

var mutf7 = strings.NewReplacer("ü", "&APw-")

// TestKilledBackupGoesOn kills it again and again, wherever it is; each run goes on,
// and the mail is complete and single in the end.
func TestKilledBackupGoesOn(t *testing.T) {
	for _, to := range destinations {
		t.Run(to, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, "maildir:~/Maildir")
			a.fill()
			a.deliver(3000)
			fields := backupFields
			want := a.state(fields)
			kills := 0
			for pause := 30 * time.Millisecond; ; pause += 15 * time.Millisecond {
				cmd := a.command(a.self, "dovecot.conf", "backup", to)
				var stderr strings.Builder
				cmd.Stderr = &stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				killer := time.AfterFunc(pause, func() { cmd.Process.Signal(syscall.SIGKILL) }) //nolint:errcheck // it may have ended
				err := cmd.Wait()
				killer.Stop()
				if err == nil {
					break
				}
				if kills++; cmd.ProcessState.Exited() {
					t.Fatalf("after %d kills: %v: %s", kills, err, &stderr)
				}
			}
			if kills < 2 {
				t.Errorf("killed %d times only", kills)
			}
			// Messages that a killed run left under wrong uids were expunged again, and
			// their uids are used up.
			got := uidNext.ReplaceAllString(a.at(to).state(fields), "")
			if diff := cmp.Diff(uidNext.ReplaceAllString(want, ""), got); diff != "" {
				t.Errorf("after %d kills (-source +destination):\n%s", kills, diff)
			}
		})
	}
}

// deliver puts messages into the Maildir as another program would.
func (h *home) deliver(n int) {
	h.t.Helper()
	for i := range n {
		path := filepath.Join(h.home(), "Maildir/new", fmt.Sprintf("%d.M%d.host", 1700000000+i, i))
		h.must(os.WriteFile(path, []byte(testMail(i)), 0o600))
		if os.Geteuid() == 0 {
			h.must(os.Chown(path, mailUID, mailUID))
		}
	}
	h.setUp("", "fetch", "uid", "mailbox", "INBOX", "uid", "1") // gives them their uids
}

// TestBackupChoosesMessages copies only some messages, as the original does.
func TestBackupChoosesMessages(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	a.setUp("", "flags", "add", `\Seen K1`, "mailbox", "INBOX", "uid", "3:4")
	for _, options := range [][]string{
		{"-O", `\Seen`}, {"-O", `-\Seen`}, {"-O", "k1"}, {"-O", "-K1"}, {"-O", `\bogus`}, {"-O", `\Seen K1`},
		{"-I", "220"}, {"-I", "1k"}, {"-I", "x"},
		{"-t", "2020-01-01"}, {"-t", "2999-01-01"}, {"-e", "2020-01-01"}, {"-e", "2999-01-01"}, {"-t", "1 hours", "-e", "0"}, {"-t", "x"}, {"-e", "x"},
	} {
		theirs, ours := a.at("mdbox:~/theirs"), a.at("mdbox:~/ours")
		want, got := a.original("", append(append([]string{"backup"}, options...), theirs.location)...), a.ours("", append(append([]string{"backup"}, options...), ours.location)...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("backup %q (-original +ours):\n%s", options, diff)
		}
		if want.Code == 0 {
			if diff := cmp.Diff(uidNext.ReplaceAllString(theirs.state(backupFields), ""), uidNext.ReplaceAllString(ours.state(backupFields), "")); diff != "" {
				t.Errorf("after backup %q (-original's +ours):\n%s", options, diff)
			}
		}
		a.must(os.RemoveAll(filepath.Join(a.home(), "theirs")))
		a.must(os.RemoveAll(filepath.Join(a.home(), "ours")))
	}
}

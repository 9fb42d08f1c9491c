package mailbox

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
)

// unprivileged is a uid for tests with Dovecot, which refuses to read mail as
// root.
const unprivileged = 12345

// asUser runs the calling test in a process of its own without privileges, if
// this one has them. It returns false in the process that should go on.
func asUser(t *testing.T) (done bool) {
	if os.Geteuid() != 0 {
		return false
	}
	dir, err := os.MkdirTemp("", "mailbox-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(dir+"/test", self, 0o755)
	}
	if err == nil {
		err = os.Chown(dir, unprivileged, unprivileged)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.v"}
	cmd := exec.Command(dir+"/test", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, "USER=tester")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: unprivileged, Gid: unprivileged}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as uid %d: %v\n%s", unprivileged, err, out)
	}
	return true
}

// A doveadm runs the real doveadm on the mailboxes of a world.
type doveadm struct {
	t    *testing.T
	conf string
	home string
}

func newDoveadm(t *testing.T, w *world) *doveadm {
	if _, err := exec.LookPath("doveadm"); err != nil {
		t.Fatal("doveadm is not installed: run test/install-packages")
	}
	home, err := os.MkdirTemp("", "d") // there are sockets in it, whose paths must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	conf := filepath.Join(home, "dovecot.conf")
	text := fmt.Sprintf("base_dir = %s/run\nlog_path = /dev/stderr\nmail_location = %s:%s%s\nfirst_valid_uid = 0\nssl = no\n", home, w.driver(), w.root, w.keys)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &doveadm{t: t, conf: conf, home: home}
}

// run runs doveadm and fails the test if it complains.
func (d *doveadm) run(input string, args ...string) string {
	d.t.Helper()
	out, errs, err := d.try(input, args...)
	if err != nil || errs != "" {
		d.t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, errs)
	}
	return out
}

func (d *doveadm) try(input string, args ...string) (out, errs string, err error) {
	cmd := exec.Command("doveadm", append([]string{"-c", d.conf}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+d.home, "USER=tester")
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// table returns what Dovecot sees of a mailbox.
func (d *doveadm) table(mailbox string) string {
	d.t.Helper()
	out := d.run("", "-f", "tab", "fetch", "uid flags modseq guid size.virtual date.received", "mailbox", mailbox, "all")
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")[1:]
	for i, line := range lines {
		f := strings.Split(line, "\t")
		f[1] = sortWords(f[1])
		lines[i] = strings.Join(f, "\t")
	}
	status := d.run("", "mailbox", "status", "messages recent uidnext uidvalidity unseen highestmodseq guid", mailbox)
	return strings.Join(append(lines, strings.TrimPrefix(status, mailbox+" ")), "\n")
}

func sortWords(s string) string {
	w := strings.Fields(s)
	sort.Strings(w)
	return strings.Join(w, " ")
}

var flagNames = []struct {
	flag Flags
	name string
}{{Answered, `\Answered`}, {Flagged, `\Flagged`}, {Deleted, `\Deleted`}, {Seen, `\Seen`}, {Draft, `\Draft`}}

// ourTable returns the same as doveadm.table.
func ourTable(t *testing.T, m *Mailbox) string {
	t.Helper()
	s, err := m.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range s.Len() {
		msg, err := m.Message(s.UID(i))
		if err != nil {
			t.Fatal(err)
		}
		words := s.Keywords(i)
		for _, f := range flagNames {
			if s.Flags(i)&f.flag != 0 {
				words = append(words, f.name)
			}
		}
		if s.UID(i) >= s.FirstRecent() {
			words = append(words, `\Recent`)
		}
		guid, err := msg.GUID()
		if err != nil {
			t.Fatal(err)
		}
		size, err := msg.VirtualSize()
		if err != nil {
			t.Fatal(err)
		}
		received, err := msg.Received()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d\t%s\t%d\t%s\t%d\t%s\n", s.UID(i), sortWords(strings.Join(words, " ")), s.ModSeq(i), guid, size, received.Format("2006-01-02 15:04:05"))
	}
	c := s.Counts()
	fmt.Fprintf(&b, "messages=%d recent=%d uidnext=%d uidvalidity=%d unseen=%d highestmodseq=%d guid=%x\n",
		c.Messages, c.Recent, s.UIDNext(), s.UIDValidity(), c.Unseen, s.HighestModSeq(), m.GUID())
	return b.String()
}

// A step changes the mailbox A, sometimes B too.
type step struct {
	name   string
	ours   func(t *testing.T, a, b *Mailbox, uids []uint32)
	theirs func(d *doveadm, uids string)
}

var steps = []step{
	{"save", func(t *testing.T, a, b *Mailbox, _ []uint32) {
		save(t, a, "Subject: ours\r\n\r\ntext\r\n", SaveOptions{Flags: Seen, Keywords: []string{"$Ours"}})
	}, func(d *doveadm, _ string) { d.run("Subject: theirs\n\ntext\n", "save", "-m", "A") }},
	{"save plain", func(t *testing.T, a, b *Mailbox, _ []uint32) {
		save(t, a, "Subject: plain\r\n\r\ntext\r\n.\r\n", SaveOptions{})
	}, func(d *doveadm, _ string) { d.run("Subject: theirs\n\ntext\n", "save", "-m", "A") }},
	{"add", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		setFlags(t, a, uids, FlagsAdd, Flagged|Seen, "$Ours", "both")
	}, func(d *doveadm, uids string) {
		d.run("", "flags", "add", `\Flagged $Theirs both`, "mailbox", "A", "uid", uids)
	}},
	{"remove", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		setFlags(t, a, uids, FlagsRemove, Seen, "both")
	}, func(d *doveadm, uids string) {
		d.run("", "flags", "remove", `\Seen \Flagged both`, "mailbox", "A", "uid", uids)
	}},
	{"replace", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		setFlags(t, a, uids, FlagsReplace, Draft|Deleted, "third")
	}, func(d *doveadm, uids string) {
		d.run("", "flags", "replace", `\Answered fourth`, "mailbox", "A", "uid", uids)
	}},
	{"expunge", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		if err := a.Expunge(ctx, uids[:1]); err != nil {
			t.Fatal(err)
		}
	}, func(d *doveadm, uids string) {
		first, _, _ := strings.Cut(uids, ",")
		d.run("", "expunge", "mailbox", "A", "uid", first)
	}},
	{"copy", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		if _, err := a.Copy(ctx, uids, b); err != nil {
			t.Fatal(err)
		}
	}, func(d *doveadm, uids string) { d.run("", "copy", "B", "mailbox", "A", "uid", uids) }},
	{"move", func(t *testing.T, a, b *Mailbox, uids []uint32) {
		if _, err := a.Move(ctx, uids[:1], b); err != nil {
			t.Fatal(err)
		}
	}, func(d *doveadm, uids string) {
		first, _, _ := strings.Cut(uids, ",")
		d.run("", "move", "B", "mailbox", "A", "uid", first)
	}},
	{"rotate", func(t *testing.T, a, b *Mailbox, _ []uint32) {
		err := a.b.lock(ctx, func() error { return a.b.ix.Rotate() })
		if err != nil {
			t.Fatal(err)
		}
	}, func(d *doveadm, _ string) {}},
	{"rewrite", func(t *testing.T, a, b *Mailbox, _ []uint32) {
		err := a.b.lock(ctx, func() error { return a.b.ix.Rewrite() })
		if err != nil {
			t.Fatal(err)
		}
	}, func(d *doveadm, _ string) {}},
}

func setFlags(t *testing.T, m *Mailbox, uids []uint32, op FlagOp, flags Flags, keywords ...string) {
	t.Helper()
	if _, err := m.SetFlags(ctx, FlagChange{UIDs: uids, Op: op, Flags: flags, Keywords: keywords, UnchangedSince: Unconditional}); err != nil {
		t.Fatal(err)
	}
}

// TestTurns has Dovecot and this package change the same mailboxes in turn, and
// compares what both see after each step.
func TestTurns(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, creator := range []string{"ours", "theirs"} {
		t.Run(creator, func(t *testing.T) { turns(t, newWorld(t), creator) })
	}
}

func turns(t *testing.T, w *world, creator string) {
	d := newDoveadm(t, w)
	if creator == "ours" {
		w.create("A").Close()
		w.create("B").Close()
	} else {
		d.run("", "mailbox", "create", "A", "B")
	}
	a, b := w.open("A"), w.open("B")
	enableModSeq(t, a)
	enableModSeq(t, b)
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 120 {
		s := a.Snapshot()
		uids, text := pick(rnd, s)
		st := steps[rnd.IntN(len(steps))]
		if len(uids) == 0 {
			st = steps[0]
		}
		who := "Dovecot"
		if rnd.IntN(2) == 0 {
			who = "we"
			st.ours(t, a, b, uids)
		} else {
			st.theirs(d, text)
		}
		for name, m := range map[string]*Mailbox{"A": a, "B": b} {
			if name == "B" && n%10 != 0 {
				continue
			}
			if diff := cmp.Diff(d.table(name), ourTable(t, m)); diff != "" {
				t.Fatalf("step %d: %s %s %s: mailbox %s (-Dovecot +ours)\n%s", n, who, st.name, text, name, diff)
			}
		}
		if n%20 == 19 {
			a.Close()
			b.Close()
			w.restart()
			a, b = w.open("A"), w.open("B")
		}
	}
}

func enableModSeq(t *testing.T, m *Mailbox) {
	t.Helper()
	if err := m.EnableModSeq(ctx); err != nil {
		t.Fatal(err)
	}
}

func pick(rnd *rand.Rand, s *Snapshot) (uids []uint32, text string) {
	if s.Len() == 0 {
		return nil, ""
	}
	var words []string
	for i := range s.Len() {
		if rnd.IntN(3) == 0 || (i == s.Len()-1 && len(uids) == 0) {
			uids = append(uids, s.UID(i))
			words = append(words, strconv.Itoa(int(s.UID(i))))
		}
	}
	return uids, strings.Join(words, ",")
}

// TestTogether has both save, flag and expunge at the same time.
func TestTogether(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newWorld(t)
	m := together(t, w)
	l, err := dbox.List(m.b.dir)
	if err != nil || len(l.UIDs) != 120 || len(l.Temps) != 0 {
		t.Errorf("%d files, %d temporary ones, %v", len(l.UIDs), len(l.Temps), err)
	}
}

func together(t *testing.T, w *world) *Mailbox {
	d := newDoveadm(t, w)
	m := w.create("A")
	enableModSeq(t, m)
	errs := make(chan error, 3)
	for range 2 {
		go func() {
			var err error
			for n := 0; n < 40 && err == nil; n++ {
				err = trySave(m, "Subject: ours\r\n\r\nx\r\n")
				if err == nil && n%5 == 4 {
					s := m.Snapshot()
					_, err = m.SetFlags(ctx, FlagChange{UIDs: []uint32{s.UID(s.Len() - 1)}, Op: FlagsAdd, Flags: Seen, Keywords: []string{"k"}, UnchangedSince: Unconditional})
				}
			}
			errs <- err
		}()
	}
	go func() {
		var err error
		for n := 0; n < 40 && err == nil; n++ {
			var text string
			if _, text, err = d.try("Subject: theirs\n\nx\n", "save", "-m", "A"); text != "" {
				err = fmt.Errorf("doveadm: %s", text)
			}
		}
		errs <- err
	}()
	for range 3 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(d.table("A"), ourTable(t, m)); diff != "" {
		t.Fatalf("(-Dovecot +ours)\n%s", diff)
	}
	if n := m.Snapshot().Len(); n != 120 {
		t.Errorf("%d messages, want 120", n)
	}
	return m
}

func trySave(m *Mailbox, text string) error {
	s, err := m.Save(ctx, SaveOptions{})
	if err != nil {
		return err
	}
	if _, err = io.WriteString(s, text); err == nil {
		_, err = s.Commit(ctx)
	}
	s.Abort()
	return err
}

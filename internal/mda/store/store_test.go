package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// plainConf is a configuration without namespaces.
const plainConf = "mail_location = sdbox:~/mail\n"

// strangeNames are names that need care on disk, in the subscriptions or on the wire.
var strangeNames = []string{
	"Entwürfe", "with space", `with "quotes"`, `back\slash`, "a&b", "tab%star*", "日本語", "𝄞 clef",
	" lead", "trail ", "Work/Projects", "Work/Entwürfe/x", "x~", "INBOX/sub", "subscriptions", "foo.lock",
}

// What one program makes, the other lists.
func TestDovecotListsOurs(t *testing.T) {
	home := t.TempDir()
	u := openTestUser(t, plainConf, home)
	ctx := context.Background()
	for _, name := range strangeNames {
		if err := u.Create(ctx, name); err != nil {
			t.Fatalf("create %q: %v", name, err)
		}
		if err := u.Subscribe(ctx, name); err != nil {
			t.Fatalf("subscribe %q: %v", name, err)
		}
	}
	out, err := dovecotCommand(t, plainConf, home, "mailbox", "list", "-s", "-8").Output()
	if err != nil {
		t.Fatal(err)
	}
	sameNames(t, lines(out), strangeNames)
	out, err = dovecotCommand(t, plainConf, home, "mailbox", "list", "-8").Output()
	if err != nil {
		t.Fatal(err)
	}
	sameNames(t, lines(out), append([]string{"INBOX", "Work", "Work/Entwürfe"}, strangeNames...))
	out, err = dovecotCommand(t, plainConf, home, "mailbox", "status", "uidvalidity", "*").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range lines(out) {
		_, validity, _ := strings.Cut(line, "uidvalidity=")
		if seen[validity] {
			t.Errorf("UIDVALIDITY given twice: %s", line)
		}
		seen[validity] = true
	}
}

func TestWeListDovecots(t *testing.T) {
	home := t.TempDir()
	var commands []string
	for _, name := range strangeNames {
		commands = append(commands, "CREATE "+imapQuoted(name), "SUBSCRIBE "+imapQuoted(name))
	}
	for i, answers := range runDovecot(t, plainConf, home, commands) {
		if len(answers) == 0 || answers[0] != "OK" {
			t.Fatalf("%s: %v", commands[i], answers)
		}
	}
	u := openTestUser(t, plainConf, home)
	subs, err := u.Subscriptions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(subs, strangeNames) {
		t.Errorf("subscriptions\n got %q\nwant %q", subs, strangeNames)
	}
	for _, name := range strangeNames {
		m, err := u.Mailbox(context.Background(), name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		m.Close()
	}
}

func imapQuoted(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(EncodeMUTF7(name)) + `"`
}

// lines splits output.
func lines(out []byte) []string {
	var list []string
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	return list
}

func sameNames(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, slices.Compact(want)) {
		t.Errorf(" got %q\nwant %q", got, want)
	}
}

func TestUIDValidity(t *testing.T) {
	ns := &Namespace{st: &storage{control: t.TempDir()}}
	path := filepath.Join(ns.st.control, uidValidityName)
	first, err := ns.nextUIDValidity()
	if err != nil || first < 1700000000 {
		t.Fatal(first, err)
	}
	for name, damage := range map[string]func(){
		"none":               func() {},
		"hint is missing":    func() { os.Remove(path) },
		"hint is garbage":    func() { os.WriteFile(path, []byte("x"), 0o600) },
		"hint is old":        func() { os.WriteFile(path, []byte("00000001"), 0o600) },
		"two files by name":  func() { os.WriteFile(path+".00000005", nil, 0o444) },
		"a name not in form": func() { os.WriteFile(path+".zzzzzzzz", nil, 0o444) },
	} {
		damage()
		next, err := ns.nextUIDValidity()
		if err != nil || next != first+1 {
			t.Errorf("%s: %d after %d, %v", name, next, first, err)
		}
		first = next
	}
	if text, _ := os.ReadFile(path); string(text) != fmt.Sprintf("%08x", first) {
		t.Errorf("file says %q, want %08x", text, first)
	}
}

func TestUIDValidityConcurrently(t *testing.T) {
	ns := &Namespace{st: &storage{control: t.TempDir()}}
	const n = 50
	got := make(chan uint32, n)
	for range n {
		go func() {
			v, err := ns.nextUIDValidity()
			if err != nil {
				t.Error(err)
			}
			got <- v
		}()
	}
	seen := map[uint32]bool{}
	for range n {
		v := <-got
		if seen[v] {
			t.Errorf("%d given twice", v)
		}
		seen[v] = true
	}
}

func TestSubscriptionFileKeepsItsVersion(t *testing.T) {
	for _, text := range []string{
		"V\t2\n\nINBOX\nWork\tProjects\nEntw&APw-rfe\n",
		"V\t2\n\na\x01tb\tc\x011d\n",
		"INBOX\nWork/Projects\n",
	} {
		if got := parseSubscriptions([]byte(text), '/').append(nil); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func FuzzSubscriptions(f *testing.F) {
	f.Add([]byte("V\t2\n\nINBOX\nWork\tProjects\n"))
	f.Add([]byte("INBOX\n\x01\x01x\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file := parseSubscriptions(text, '/')
		once := file.append(nil)
		if file.v1 {
			return // its names cannot hold every text
		}
		if again := parseSubscriptions(once, '/').append(nil); !bytes.Equal(once, again) {
			t.Errorf("%q became %q", once, again)
		}
	})
}

func TestLocationErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "Mail storage autodetection failed with home=/home/bob",
		"sdbox":                        "Ambiguous mail location setting, don't know what to do with it: sdbox (try prefixing it with mbox: or maildir:)",
		"~/x":                          "Ambiguous mail location setting, don't know what to do with it: ~/x (try prefixing it with mbox: or maildir:)",
		"sdbox:":                       "Root mail directory not given",
		"maildirr:~/x":                 "Unknown mail storage driver maildirr",
		"sdbox:~/x:FOO=1":              "Unknown setting: FOO",
		"sdbox:~/x:LAYOUT=foo":         "Mailbox list driver foo: Unknown driver name",
		"sdbox:~/x:INDEX=MEMORY":       "INDEX=MEMORY: sdbox needs index files",
		"sdbox:~/x:DIRNAME=../outside": "DIRNAME: invalid directory name: ../outside",
	} {
		if _, err := parseLocation(text, owner{"bob", "/home/bob"}); err == nil || err.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestMaildirLocations(t *testing.T) {
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, "Maildir/cur"), 0o700); err != nil {
		t.Fatal(err)
	}
	maildir := filepath.Join(home, "Maildir")
	for _, c := range []struct{ location, disk, dir, index, control string }{
		{"", ".", maildir, "", ""},
		{"", ".Work.Projects", maildir + "/.Work.Projects", "", ""},
		{"maildir:/m:INDEX=/i:CONTROL=/c", ".", "/m", "/i/.INBOX", "/c/.INBOX"},
		{"maildir:/m:INDEX=/i:CONTROL=/c", ".A.B", "/m/.A.B", "/i/.A.B", "/c/.A.B"},
		{"maildir:/m:LAYOUT=fs:INDEX=/i", ".", "/m", "/i/INBOX", ""},
		{"maildir:/m:LAYOUT=fs:INDEX=/i", "A/B", "/m/A/B", "/i/A/B", ""},
	} {
		st, err := parseLocation(c.location, owner{"bob", home})
		if err != nil {
			t.Fatal(err)
		}
		want := mailbox.Location{Format: "maildir", Name: "x", Dir: c.dir, IndexDir: c.index, ControlDir: c.control, OwnIndex: c.index != ""}
		if got := st.location(c.disk, "x"); got != want {
			t.Errorf("%s %s\n got %+v\nwant %+v", c.location, c.disk, got, want)
		}
	}
}

func TestLocationPaths(t *testing.T) {
	st, err := parseLocation("sdbox:~/mail:INDEX=/idx:CONTROL=/ctl:ALT=/alt:MAILBOXDIR=boxes:DIRNAME=d", owner{"bob", "/home/bob"})
	if err != nil {
		t.Fatal(err)
	}
	want := mailbox.Location{
		Format: "sdbox", Name: "a/b", Dir: "/home/bob/mail/boxes/a/b/d", IndexDir: "/idx/boxes/a/b",
		ControlDir: "/ctl/boxes/a/b", AltDir: "/alt/boxes/a/b/d", TrashDir: "/home/bob/mail/..DOVECOT-TrasH",
	}
	if got := st.location("a/b", "a/b"); got != want {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestNamespaceErrors(t *testing.T) {
	for name, c := range map[string]struct{ conf, want string }{
		"no inbox":        {"namespace a {\n prefix = a/\n separator = /\n}\n", "inbox=yes namespace missing"},
		"two inboxes":     {"namespace a {\n inbox = yes\n}\nnamespace b {\n inbox = yes\n prefix = b/\n separator = /\n}\n", "only one namespace with inbox=yes"},
		"same prefix":     {"namespace a {\n inbox = yes\n}\nnamespace b {\n}\n", "Duplicate namespace prefix"},
		"prefix open":     {"namespace a {\n inbox = yes\n prefix = a\n separator = /\n}\n", "list=yes requires prefix=a to end with separator /"},
		"unknown format":  {"namespace a {\n inbox = yes\n location = foo:~/x\n}\n", "Namespace '': Unknown mail storage driver foo"},
		"unknown %{var}":  {"namespace a {\n inbox = yes\n location = sdbox:~/%{nonsense}\n}\n", "Failed to expand settings: mail_location: Unknown variable '%nonsense'"},
		"ignored failure": {"namespace a {\n inbox = yes\n}\nnamespace b {\n prefix = b/\n separator = /\n location = foo:x\n ignore_on_failure = yes\n}\n", ""},
	} {
		cfg, err := dovecot.Parse("dovecot.conf", plainConf+c.conf)
		if err != nil {
			t.Fatal(name, err)
		}
		_, err = OpenUser(context.Background(), cfg, UserInfo{Username: "bob", Home: "/home/bob"}, nil, nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What the userdb says about one user wins over the configuration.
func TestUserdbOverrides(t *testing.T) {
	conf := "mail_location = sdbox:/var/vmail/%d/%n\nnamespace inbox {\n inbox = yes\n separator = /\n}\n"
	cfg, err := dovecot.Parse("dovecot.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	open := func(fields map[string]string) *Namespace {
		info := UserInfo{Username: "bob@example.org", Home: "/home/bob", Fields: fields}
		u, err := OpenUser(context.Background(), cfg, info, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return u.Namespaces()[0]
	}
	if ns := open(nil); ns.st.root != "/var/vmail/example.org/bob" {
		t.Errorf("root %s", ns.st.root)
	}
	if ns := open(map[string]string{"mail": "sdbox:~/other/%u"}); ns.st.root != "/home/bob/other/bob@example.org" {
		t.Errorf("root %s", ns.st.root)
	}
	if ns := open(map[string]string{"namespace/inbox/prefix": "INBOX/"}); ns.Prefix != "INBOX/" {
		t.Errorf("prefix %s", ns.Prefix)
	}
}

// A link below the root that leads out of it is no way out.
func TestLinksDoNotLeadOut(t *testing.T) {
	home := t.TempDir()
	outside := t.TempDir()
	os.MkdirAll(filepath.Join(outside, "secret", "dbox-Mails"), 0o755)
	u := openTestUser(t, plainConf, home)
	if err := u.Create(context.Background(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(home, "mail", "mailboxes", "out")); err != nil {
		t.Fatal(err)
	}
	entries, err := u.List(context.Background(), ListQuery{Patterns: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name, "out") {
			t.Errorf("listed %s", e.Name)
		}
	}
	if err := u.Delete(context.Background(), "out/secret"); err == nil {
		t.Error("deleted something outside")
	}
}

func TestMUTF7(t *testing.T) {
	for _, name := range append(strangeNames, "&", "&-", "ä-", "aäöb", "\u00a0") {
		if got, ok := DecodeMUTF7(EncodeMUTF7(name)); !ok || got != name {
			t.Errorf("%q -> %q -> %q %v", name, EncodeMUTF7(name), got, ok)
		}
	}
	if got := EncodeMUTF7("~peter/mail/台北/日本語"); got != "~peter/mail/&U,BTFw-/&ZeVnLIqe-" { // RFC 3501 5.1.3
		t.Error(got)
	}
	for _, bad := range []string{"&", "&A", "a&AGE-", "&AOQ", "&AOQ-&AOQ-", "&AOT-", "ä", "\x01", "&2AA-", "&!-", "&AAA-"} {
		if got, ok := DecodeMUTF7(bad); ok {
			t.Errorf("%q decoded to %q", bad, got)
		}
	}
}

func FuzzMUTF7(f *testing.F) {
	for _, name := range strangeNames {
		f.Add(name)
		f.Add(EncodeMUTF7(name))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := DecodeMUTF7(s); ok && EncodeMUTF7(name) != s {
			t.Errorf("%q is not the canonical encoding of %q", s, name)
		}
	})
}

// slowMatch is what a glob means.
func slowMatch(pattern, name string, sep byte) bool {
	if pattern == "" {
		return name == ""
	}
	switch pattern[0] {
	case '*', '%':
		for i := 0; ; i++ {
			if slowMatch(pattern[1:], name[i:], sep) {
				return true
			}
			if i == len(name) || pattern[0] == '%' && name[i] == sep {
				return false
			}
		}
	}
	return name != "" && name[0] == pattern[0] && slowMatch(pattern[1:], name[1:], sep)
}

func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"*", "%", "a%/*b", "%%*%", "a*%b/%", "", "*/%/x%"} {
		f.Add(pattern, "ab/ab/xb")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 12 {
			return
		}
		g := newGlob(pattern, '/', false)
		if got, want := g.match(name), slowMatch(pattern, name, '/'); got != want {
			t.Errorf("%q matches %q: %v", pattern, name, got)
		}
		// A match below a name is found only if it is looked for there.
		if i := strings.LastIndexByte(name, '/'); i > 0 && i < len(name)-1 && g.match(name) && !g.matchBelow(name[:i+1]) {
			t.Errorf("%q matches %q, but not below %q", pattern, name, name[:i+1])
		}
	})
}

func BenchmarkOpenUser(b *testing.B) {
	conf := "mail_location = sdbox:/var/vmail/%d/%n\nnamespace inbox {\n inbox = yes\n separator = /\n" +
		" mailbox Drafts {\n  special_use = \\Drafts\n  auto = subscribe\n }\n mailbox Sent {\n  special_use = \\Sent\n }\n}\n"
	cfg, err := dovecot.Parse("dovecot.conf", conf)
	if err != nil {
		b.Fatal(err)
	}
	info := UserInfo{Username: "bob@example.org", Home: "/home/bob", Service: "imap"}
	b.ReportAllocs()
	for b.Loop() {
		u, err := OpenUser(context.Background(), cfg, info, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		u.Close()
	}
}

func BenchmarkList(b *testing.B) {
	home := b.TempDir()
	cfg, err := dovecot.Parse("dovecot.conf", plainConf)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		os.MkdirAll(filepath.Join(home, "mail", "mailboxes", fmt.Sprintf("box%d", i), "dbox-Mails"), 0o755)
	}
	u, err := OpenUser(context.Background(), cfg, UserInfo{Username: "bob", Home: home}, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	q := ListQuery{Patterns: []string{"*"}, Return: ReturnChildren | ReturnSpecialUse}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := u.List(context.Background(), q); err != nil {
			b.Fatal(err)
		}
	}
}

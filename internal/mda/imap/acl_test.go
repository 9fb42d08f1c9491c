package imap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// aclCases is how many random sets of lists are recorded in testdata/acl.txtar.
const aclCases = 60

// aclConfig has a private and a public namespace, and those of other users.
const aclConfig = `mail_location = sdbox:HOME/mail
mail_plugins = acl imap_acl
mail_attribute_dict = file:HOME/attributes
plugin {
  acl = vfile:HOME/global
  acl_groups = staff,ops
  acl_anyone = allow
EXTRA}
namespace inbox {
  inbox = yes
  separator = /
}
namespace public {
  type = public
  prefix = Public/
  separator = /
  location = sdbox:HOME/public
  subscriptions = no
}
namespace shared {
  type = shared
  prefix = shared/%%u/
  separator = /
  location = sdbox:HOME/users/%%u
  subscriptions = no
}
`

// aclBoxes are the mailboxes, with the directory of each.
var aclBoxes = []struct{ name, dir string }{
	{"INBOX", "mail/mailboxes/INBOX/dbox-Mails"},
	{"box", "mail/mailboxes/box/dbox-Mails"},
	{"box/sub", "mail/mailboxes/box/sub/dbox-Mails"},
	{"Public/a", "public/mailboxes/a/dbox-Mails"},
	{"Public/a/b", "public/mailboxes/a/b/dbox-Mails"},
	{"Public/a/b/c", "public/mailboxes/a/b/c/dbox-Mails"},
	{"Public/d", "public/mailboxes/d/dbox-Mails"},
	{"shared/eve", "users/eve/mailboxes/INBOX/dbox-Mails"},
	{"shared/eve/work", "users/eve/mailboxes/work/dbox-Mails"},
}

// aclCase is one set of lists with the commands that are given.
type aclCase struct {
	files    map[string]string // below the home directory
	extra    string            // settings
	commands []string
}

// randomACL makes a case.
func randomACL(seed uint64) *aclCase {
	r := rand.New(rand.NewPCG(seed, 1))
	c := &aclCase{files: map[string]string{}}
	for _, b := range aclBoxes {
		for range r.IntN(4) {
			c.files[b.dir+"/dovecot-acl"] += randomEntry(r)
		}
	}
	if r.IntN(3) == 0 {
		c.files["public/mailboxes/dovecot-acl"] = randomEntry(r)
	}
	if r.IntN(4) == 0 {
		c.files["mail/mailboxes/dovecot-acl"] = randomEntry(r)
	}
	for range r.IntN(3) {
		c.files["global"] += pick(r, "*", "Public/*", "box", "Public/a*", "shared/eve/*", "Public/?") + " " + randomEntry(r)
	}
	switch r.IntN(8) {
	case 0:
		c.extra = "  acl_defaults_from_inbox = yes\n"
	case 1:
		c.extra = "  acl_globals_only = yes\n"
	case 2:
		c.extra = "  acl_user = eve\n"
	case 3:
		c.extra = "  acl_ignore_namespace = Public/\n"
	case 4:
		c.extra = "  master_user = admin\n"
	}
	c.commands = aclCommands(r)
	return c
}

// randomEntry makes a line of a list.
func randomEntry(r *rand.Rand) string {
	id := pick(r, "owner", "anyone", "authenticated", "user=bob", "user=bob", "user=eve", "group=staff", "group=ops", "group=none", "group-override=ops", "group-override=none")
	if r.IntN(4) == 0 {
		id = "-" + id
	}
	letters := ""
	for _, l := range "lrwstipekxa" {
		if r.IntN(5) < 3 {
			letters += string(l)
		}
	}
	switch r.IntN(8) {
	case 0:
		letters = "lrwstipekxa"
	case 1:
		letters += " :custom"
	case 2:
		letters = "lr"
	}
	return strings.TrimRight(id+" "+letters, " ") + "\n"
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

// aclCommands are what a client tries.
func aclCommands(r *rand.Rand) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, b := range aclBoxes {
		add("MYRIGHTS %s", b.name)
	}
	for _, pattern := range []string{"*", "%", "%/%", "Public/%", "Public/a/*", "Public/*/c", "shared/*", "box/*"} {
		add(`LIST "" "%s"`, pattern)
	}
	add(`LSUB "" *`)
	add(`LIST (SUBSCRIBED) "" *`)
	box := func() string { return aclBoxes[r.IntN(len(aclBoxes))].name }
	for range 18 {
		name := box()
		switch r.IntN(9) {
		case 0:
			add("STATUS %s (MESSAGES UNSEEN)", name)
		case 1:
			add("GETACL %s", name)
		case 2:
			add("SUBSCRIBE %s", name)
		case 3:
			add("APPEND %s (\\Seen \\Flagged \\Deleted kw) {2+}\r\nx\n", name)
		case 4:
			add("LISTRIGHTS %s eve", name)
		case 5:
			add("SETACL %s %s %s", name, pick(r, "eve", "-eve", "$none", "-$none", "!$none", "#x"), pick(r, "lr", "+i", "-r", `""`, "lrswipkxtea", "cd", "q"))
			add("GETACL %s", name)
			add("MYRIGHTS %s", name)
		case 6:
			add("DELETEACL %s %s", name, pick(r, "eve", "-eve", "$none"))
		case 7:
			add("CREATE %s/new", name)
			add("MYRIGHTS %s/new", name)
			add("GETACL %s/new", name)
		}
	}
	for range 4 {
		add("SELECT %s", box())
		add("FETCH 1:* (UID FLAGS)")
		add("STORE 1 %s (%s)", pick(r, "FLAGS", "+FLAGS", "-FLAGS"), pick(r, `\Seen`, `\Deleted`, `\Flagged kw`, `\Seen \Deleted \Answered`, ""))
		add("STORE 2 +FLAGS (\\Deleted \\Seen \\Draft)")
		add("FETCH 1:* (FLAGS)")
		add("COPY 1 %s", box())
		if r.IntN(2) == 0 {
			add("MOVE 1 %s", box())
		}
		if r.IntN(2) == 0 {
			add("%s", pick(r, "EXPUNGE", "EXPUNGE", "UID EXPUNGE 1:*"))
		}
		add("UNSELECT")
	}
	add("RENAME %s %s", box(), pick(r, "box/moved", "Public/moved", "Public/a/moved", "moved"))
	add("DELETE %s", box())
	add("DELETE %s", box())
	add(`LIST "" "*"`)
	// Dovecot's session does not notice how its own rights change.
	for _, i := range r.Perm(len(aclBoxes)) {
		add("SETACL %s %s %s", aclBoxes[i].name, pick(r, "bob", "owner", "-bob", "-owner", "$staff", "anyone", "!$ops", "-authenticated"), pick(r, "lr", "+i", "-ra", "-l", `""`, "lrswipkxtea", "cd", "+a"))
	}
	return list
}

// aclHome makes a home directory with the mailboxes of aclBoxes, each with two messages.
func aclHome(t *testing.T, home string) {
	t.Helper()
	head, _, _ := strings.Cut(aclConfig, "namespace shared")
	text := strings.NewReplacer("HOME", home, "EXTRA", "", "mail_plugins = acl imap_acl", "mail_fsync = never").Replace(head) +
		"namespace eve {\n  prefix = eve/\n  separator = /\n  location = sdbox:" + home + "/users/eve\n}\n"
	user, done := aclUser(t, text, home)
	defer done()
	ctx := context.Background()
	for _, b := range aclBoxes {
		name := strings.TrimPrefix(b.name, "shared/")
		if name == "eve" {
			name = "eve/INBOX"
		}
		if name != "INBOX" {
			if err := user.Create(ctx, name); err != nil {
				t.Fatal(name, err)
			}
		}
		box, err := user.Mailbox(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			s, err := box.Save(ctx, mailbox.SaveOptions{Received: time.Unix(1e9, 0), Keywords: []string{"kw"}})
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(s, "Subject: x\n\nx\n")
			if _, err := s.Commit(ctx); err != nil {
				t.Fatal(err)
			}
		}
		box.Close()
	}
}

// aclUser opens bob's mail.
func aclUser(t *testing.T, conf, home string) (_ *store.User, done func()) {
	t.Helper()
	user, _, done := aclServer(t, conf, home)
	return user, done
}

func aclServer(t *testing.T, conf, home string) (*store.User, *Server, func()) {
	t.Helper()
	cfg, err := dovecot.Parse("acl.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(home, "log"))
	if err != nil {
		t.Fatal(err)
	}
	sink := maillog.NewFile(f, maillog.Dovecot, "")
	log := maillog.New(sink, "imap")
	pool := mailbox.NewPool(log)
	srv, err := NewServer(Config{Dovecot: cfg, Pool: pool, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	user, err := store.OpenUser(t.Context(), cfg, store.UserInfo{Username: "bob", Home: home, Service: "imap"}, pool, log)
	if err != nil {
		t.Fatal(err)
	}
	return user, srv, func() {
		user.Close()
		pool.Close()
		sink.Close()
	}
}

// prepare makes the home directory of a case and its configuration.
func (c *aclCase) prepare(t *testing.T) (home, conf string) {
	t.Helper()
	home = t.TempDir()
	aclHome(t, home)
	for name, text := range c.files {
		path := filepath.Join(home, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	return home, strings.NewReplacer("HOME", home, "EXTRA", c.extra).Replace(aclConfig)
}

// play gives the commands and returns them with the answers.
func (c *aclCase) play(t *testing.T, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	if greeting, err := r.ReadString('\n'); err != nil || !strings.Contains(greeting, " ACL RIGHTS=texk") {
		t.Fatalf("greeting %q, %v", greeting, err)
	}
	var b strings.Builder
	for i, command := range c.commands {
		tag := fmt.Sprintf("a%d", i)
		fmt.Fprintf(conn, "%s %s\r\n", tag, command)
		fmt.Fprintf(&b, "C: %s\n", strings.ReplaceAll(strings.TrimSpace(command), "\r\n", "|"))
		var lines []string
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return b.String() + "S: " + err.Error() + "\n"
			}
			if onlyOurs(line) {
				continue
			}
			line = normalize(strings.TrimRight(line, "\r\n"))
			if rest, ok := strings.CutPrefix(line, tag+" "); ok {
				slices.Sort(lines)
				for _, l := range lines {
					b.WriteString("S: " + l + "\n")
				}
				b.WriteString("S: " + rest + "\n")
				break
			}
			lines = append(lines, line)
		}
	}
	return b.String()
}

// ours plays a case with this server.
func (c *aclCase) ours(t *testing.T) string {
	home, conf := c.prepare(t)
	user, srv, finish := aclServer(t, "mail_fsync = never\n"+conf, home)
	defer finish()
	client, conn := tcpPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(t.Context(), conn, handoff.Login{}, user)
	}()
	defer func() { <-done }()
	return c.play(t, client) + aclFiles(t, home)
}

// aclFiles are the lists as they are on disk.
func aclFiles(t *testing.T, home string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "dovecot-acl" {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&b, "F: %s\n%s", strings.TrimPrefix(path, home), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// theirs plays a case with Dovecot.
func (c *aclCase) theirs(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	home, conf := c.prepare(t)
	conf += "log_path = " + home + "/log\nbase_dir = " + home + "\nssl = no\nmail_uid = 65534\nmail_gid = 65534\n"
	path := filepath.Join(home, "dovecot.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(home, func(path string, _ os.FileInfo, _ error) error { return os.Chown(path, 65534, 65534) })
	if err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(home); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	cmd := exec.Command(dovecotIMAP, "-c", path)
	cmd.Dir = home
	cmd.Env = []string{"USER=bob", "HOME=" + home}
	cmd.Stderr = os.Stderr
	ours := pipeTo(t, cmd)
	return c.play(t, ours) + aclFiles(t, home)
}

// aclDefects are answers of Dovecot that are none to follow: it cannot delete mailboxes that the user has the right
// to delete and not to see, and copies messages that it then fails to move.
var aclDefects = regexp.MustCompile(`specialuse attribute cannot be changed|Moved UIDs.\nS: NO `)

// aclStale are cases in which Dovecot goes by rights that it has cached, of a mailbox that was deleted (23, 27), or answers
// STATUS from the list index to who may not read the mailbox.
var aclStale = []int{23, 27, 62, 70}

// TestACLLikeDovecot plays random access lists and commands, and compares with what Dovecot has answered
// to the same (with -update it is asked again).
func TestACLLikeDovecot(t *testing.T) {
	const path = "testdata/acl.txtar"
	if *update {
		archive := &txtar.Archive{Comment: []byte("What Dovecot answers to the cases of TestACLLikeDovecot, by seed.\n")}
		for seed := 0; len(archive.Files) < aclCases; seed++ {
			text := randomACL(uint64(seed)).theirs(t)
			if aclDefects.MatchString(text) || slices.Contains(aclStale, seed) {
				continue
			}
			archive.Files = append(archive.Files, txtar.File{Name: fmt.Sprint(seed), Data: []byte(text)})
		}
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			seed, err := strconv.ParseUint(f.Name, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			c := randomACL(seed)
			if diff := cmp.Diff(strings.Split(string(f.Data), "\n"), strings.Split(c.ours(t), "\n")); diff != "" {
				t.Errorf("answers differ (-Dovecot +ours), files %q, %q:\n%s", c.files, c.extra, diff)
			}
		})
	}
}

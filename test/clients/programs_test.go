package clients

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A run is one program as one user of one server.
type run struct {
	*testing.T
	mb         *harness.Mailbox
	user       int
	dir        string // of the program's own
	host, port string // of IMAP
	pop        string // port of POP3
}

// try runs a command, with its home in the run's directory.
func (r *run) try(name string, args ...string) string {
	r.Helper()
	cmd := exec.Command("timeout", append([]string{"120", name}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "FETCHMAILHOME="+r.dir, "TERM=xterm")
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// config writes a file of a program. In it @NAME@ stands for what a run has.
func (r *run) config(name, text string) string {
	r.Helper()
	text = strings.NewReplacer("@HOST@", r.host, "@PORT@", r.port, "@POP@", r.pop, "@USER@", harness.User(r.user), "@PASS@", harness.Password, "@DIR@", r.dir).Replace(text)
	path := filepath.Join(r.dir, name)
	harness.Write(r, path, text)
	if err := os.Chmod(path, 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// mkdir makes directories below the run's.
func (r *run) mkdir(names ...string) {
	r.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(r.dir, name), 0o700); err != nil {
			r.Fatal(err)
		}
	}
}

// change does as a user does to a synchronized Maildir: one message is flagged, one is removed, one comes.
func (r *run) change(box string) {
	r.Helper()
	dir := filepath.Join(r.dir, box)
	names, err := filepath.Glob(filepath.Join(dir, "cur", "*:2,S"))
	if err != nil || len(names) < 2 {
		r.Fatalf("%d messages in %s have been seen: %v", len(names), dir, err)
	}
	bySubject := map[string]string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			r.Fatal(err)
		}
		bySubject[digest(string(text))] = name
	}
	subjects := slices.Sorted(func(yield func(string) bool) {
		for s := range bySubject {
			if !yield(s) {
				return
			}
		}
	})
	first, second := bySubject[subjects[0]], bySubject[subjects[1]]
	if err := os.Rename(first, strings.TrimSuffix(first, "S")+"FRS"); err != nil {
		r.Fatal(err)
	}
	if err := os.Remove(second); err != nil {
		r.Fatal(err)
	}
	harness.Write(r, filepath.Join(dir, "new", "1.2.host"), "From: me@example.test\nSubject: written here\nMessage-ID: <new@example.test>\n\nnew\n")
}

const mbsyncConfig = `IMAPAccount a
Host @HOST@
Port @PORT@
User @USER@
Pass @PASS@
SSLType None
AuthMechs LOGIN

IMAPStore remote
Account a

MaildirStore local
Path @DIR@/boxes/
Inbox @DIR@/boxes/INBOX
SubFolders Verbatim

Channel c
Far :remote:
Near :local:
Patterns *
Create Both
Expunge Both
SyncState *
`

func runMbsync(r *run) []string {
	r.mkdir("boxes")
	rc := r.config("mbsyncrc", mbsyncConfig)
	r.try("mbsync", "-c", rc, "-a")
	fetched := maildirs(r.T, filepath.Join(r.dir, "boxes"))
	r.change("boxes/INBOX")
	r.try("mbsync", "-c", rc, "-a")
	return append(fetched, maildirs(r.T, filepath.Join(r.dir, "boxes"))...)
}

const offlineimapConfig = `[general]
accounts = a
maxsyncaccounts = 1
ui = basic
[Account a]
localrepository = l
remoterepository = r
[Repository l]
type = Maildir
localfolders = @DIR@/boxes
sep = /
[Repository r]
type = IMAP
remotehost = @HOST@
remoteport = @PORT@
remoteuser = @USER@
remotepass = @PASS@
ssl = no
starttls = no
auth_mechanisms = LOGIN
maxconnections = 2
`

func runOfflineimap(r *run) []string {
	rc := r.config("offlineimaprc", offlineimapConfig)
	r.try("offlineimap", "-c", rc, "-o", "-u", "quiet")
	fetched := maildirs(r.T, filepath.Join(r.dir, "boxes"))
	r.change("boxes/INBOX")
	r.try("offlineimap", "-c", rc, "-o", "-u", "quiet")
	return append(fetched, maildirs(r.T, filepath.Join(r.dir, "boxes"))...)
}

// fetchmail gets mail by IMAP, which it leaves there, and by POP3, from where it takes it away.
func runFetchmail(r *run) []string {
	rc := r.config("fetchmailrc", `poll @HOST@ protocol IMAP service @PORT@ user "@USER@" password "@PASS@" folder Archive fetchall keep sslproto '' mda "(echo From x; cat; echo) >>@DIR@/imap"`+"\n")
	r.try("fetchmail", "-f", rc, "--nosyslog", "--nodetach", "--pidfile", filepath.Join(r.dir, "pid"))
	rc = r.config("fetchmailrc", `poll @HOST@ protocol POP3 service @POP@ uidl user "@USER@" password "@PASS@" fetchall nokeep sslproto '' mda "(echo From x; cat; echo) >>@DIR@/pop"`+"\n")
	r.try("fetchmail", "-f", rc, "--nosyslog", "--nodetach", "--pidfile", filepath.Join(r.dir, "pid"))
	return append(mbox(r.T, filepath.Join(r.dir, "imap")), mbox(r.T, filepath.Join(r.dir, "pop"))...)
}

const getmailConfig = `[retriever]
type = Simple@KIND@Retriever
server = @HOST@
port = @AT@
username = @USER@
password = @PASS@
@MORE@
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "(echo From x; cat; echo) >>@DIR@/@KIND@")
allow_root_commands = true
unixfrom = false
[options]
delete = @DELETE@
delivered_to = false
received = false
verbose = 0
`

// getmail does the same; a second time it must find nothing new.
func runGetmail(r *run) []string {
	for _, kind := range []string{"IMAP", "POP3"} {
		at, more, remove := r.port, `mailboxes = ("INBOX", "Archive", "Projects/2026")`, "false"
		if kind == "POP3" {
			at, more, remove = r.pop, "", "true"
		}
		rc := r.config("rc"+kind, strings.NewReplacer("@KIND@", kind, "@AT@", at, "@MORE@", more, "@DELETE@", remove).Replace(getmailConfig))
		for range 2 {
			r.try("getmail", "--getmaildir="+r.dir, "--rcfile="+rc)
		}
	}
	return append(mbox(r.T, filepath.Join(r.dir, "IMAP")), mbox(r.T, filepath.Join(r.dir, "POP3"))...)
}

const neomuttConfig = `set folder = "imap://@HOST@:@PORT@/"
set spoolfile = "+INBOX"
set imap_user = "@USER@"
set imap_pass = "@PASS@"
set imap_authenticators = "login"
set ssl_starttls = no
set ssl_force_tls = no
set imap_passive = no
set header_cache = "@DIR@/cache"
set mbox_type = mbox
set copy = no
set confirmappend = no
set confirmcreate = no
set delete = yes
set quit = yes
set sort = mailbox-order
set resolve = no
set wait_key = no
`

// neomutt copies all messages into a file, flags some, deletes others, and moves some to another folder.
func runNeomutt(r *run) []string {
	rc := r.config("neomuttrc", neomuttConfig)
	keys := `<tag-pattern>~A<enter><tag-prefix><copy-message>` + filepath.Join(r.dir, "all") + `<enter>` +
		`<untag-pattern>~A<enter>` +
		`<tag-pattern>~s number<enter><tag-prefix><set-flag>!<untag-pattern>~A<enter>` +
		`<delete-pattern>~s dots<enter>` +
		`<tag-pattern>~s parts<enter><tag-prefix><save-message>=Archive<enter>` +
		`<sync-mailbox><change-folder>=Projects/2026<enter><tag-pattern>~A<enter><tag-prefix><copy-message>` + filepath.Join(r.dir, "other") + `<enter><quit>`
	r.try("script", "-qec", "neomutt -n -F "+rc+" -e 'push \""+keys+"\"'", filepath.Join(r.dir, "screen"))
	return append(mbox(r.T, filepath.Join(r.dir, "all")), mbox(r.T, filepath.Join(r.dir, "other"))...)
}

// curl lists, searches, fetches and stores.
func runCurl(r *run) []string {
	curl := func(args ...string) string {
		r.Helper()
		return r.try("curl", append([]string{"-sS", "-u", harness.User(r.user) + ":" + harness.Password}, args...)...)
	}
	at := "imap://" + net.JoinHostPort(r.host, r.port)
	// Dovecot also guesses which mailboxes have recent messages (\Marked, RFC 3501 7.2.2).
	lines := strings.Split(strings.ReplaceAll(curl(at+"/"), ` \Marked`, ""), "\r\n")
	slices.Sort(lines)
	r.config("letter", "Subject: by curl\r\n\r\nx\r\n")
	curl(at+"/Archive", "-T", filepath.Join(r.dir, "letter"))
	results := append(lines,
		digest(curl(at+"/INBOX;UID=10")), curl(at+"/INBOX;UID=10;SECTION=2.MIME"), curl(at+"/INBOX?SUBJECT%20dots"),
		curl(at+"/INBOX", "-X", "STORE 3 +FLAGS.SILENT (\\Deleted)"), curl(at+"/INBOX", "-X", "EXPUNGE"))
	pop := "pop3://" + net.JoinHostPort(r.host, r.pop)
	return append(results, curl(pop+"/"), digest(curl(pop+"/4")))
}

// programs are the clients, and how many messages of the corpus they see at least.
var programs = []struct {
	name string
	run  func(*run) []string
	sees int
}{
	{"mbsync", runMbsync, 2 * 5 * 21},
	{"offlineimap", runOfflineimap, 2 * 5 * 21},
	{"fetchmail", runFetchmail, 2 * 21},
	{"getmail", runGetmail, 4 * 21},
	{"neomutt", runNeomutt, 2 * 21},
	{"curl", runCurl, 10},
}

// TestPrograms has each client do a whole synchronization of mailboxes with ours and with Dovecot. What the client
// has got, and what the server has in the end, must be the same.
func TestPrograms(t *testing.T) {
	servers := map[harness.Program]*harness.Mailbox{}
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		servers[p] = harness.StartMailbox(t, p, harness.MailboxOptions{Users: len(programs), Extra: "disable_plaintext_auth = no\n"})
	}
	for user, program := range programs {
		t.Run(program.name, func(t *testing.T) {
			t.Parallel()
			var got, have [2][]string
			for i, p := range []harness.Program{harness.Dovetail, harness.Original} {
				mb := servers[p]
				fill(t, mb, user)
				r := &run{T: t, mb: mb, user: user, dir: harness.Dir(t)}
				r.host, r.port, _ = strings.Cut(mb.IMAP, ":")
				_, r.pop, _ = strings.Cut(mb.POP3, ":")
				for _, line := range program.run(r) {
					// Ports and directories are each server's own.
					got[i] = append(got[i], strings.NewReplacer(r.port, "PORT", r.pop, "POP", r.dir, "DIR").Replace(line))
				}
				have[i] = stored(t, mb, user)
			}
			if len(got[0]) < program.sees {
				t.Errorf("%d results, want %d at least: %q", len(got[0]), program.sees, got[0])
			}
			compare(t, "the client has", got)
			compare(t, "the server has", have)
		})
	}
}

// compare tells what only one of ours and the original has.
func compare(t *testing.T, what string, lines [2][]string) {
	t.Helper()
	for i, name := range []string{"ours", "the original"} {
		other := slices.Clone(lines[1-i])
		for _, line := range lines[i] {
			if at := slices.Index(other, line); at >= 0 {
				other = slices.Delete(other, at, at+1)
				continue
			}
			t.Errorf("%s, with %s only: %s", what, name, line)
		}
	}
	if len(lines[0]) == 0 {
		t.Errorf("%s nothing", what)
	}
}

package doveadm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

// asDoveadm in the environment makes the test binary this package's doveadm.
const asDoveadm = "DOVETAIL_TEST_AS_DOVEADM"

func init() {
	if os.Getenv(asDoveadm) != "" {
		flavor.Name = "debian"
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}

// mailUID owns the mail of tests if they run as root, as whom Dovecot reads no mail.
const mailUID = 8

// A home is one user's home directory with a configuration beside it.
type home struct {
	t    *testing.T
	dir  string // of both
	self string // the test binary, where anybody may execute it

	location string // "" for that of the configuration
}

const homeConf = `
base_dir = DIR/run
log_path = /dev/stderr
first_valid_uid = 0
ssl = no
mail_location = LOCATION
namespace inbox {
  inbox = yes
  separator = /
  mailbox Trash {
    auto = create
    special_use = \Trash
  }
}
`

func newHome(t *testing.T, location string) *home {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // short: messages have paths in them
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &home{t: t, dir: dir, self: filepath.Join(dir, "doveadm")}
	h.must(os.Chmod(dir, 0o755))
	h.must(os.Mkdir(h.home(), 0o700))
	if os.Geteuid() == 0 {
		h.must(os.Chown(h.home(), mailUID, mailUID))
	}
	self, err := os.Executable()
	h.must(err)
	if os.Link(self, h.self) != nil {
		b, err := os.ReadFile(self)
		h.must(err)
		h.must(os.WriteFile(h.self, b, 0o755))
	}
	h.conf("dovecot.conf", location)
	return h
}

func (h *home) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) home() string { return filepath.Join(h.dir, "home") }

// conf writes a configuration with another location.
func (h *home) conf(name, location string) {
	h.t.Helper()
	text := strings.NewReplacer("DIR", h.dir, "LOCATION", location).Replace(homeConf)
	h.must(os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o644))
}

// clone returns a home with the same content.
func (h *home) clone() *home {
	h.t.Helper()
	c := newHome(h.t, "")
	if out, err := exec.Command("cp", "-a", h.home()+"/.", c.home()).CombinedOutput(); err != nil {
		h.t.Fatalf("cp: %v\n%s", err, out)
	}
	conf, err := os.ReadFile(filepath.Join(h.dir, "dovecot.conf"))
	h.must(err)
	h.must(os.WriteFile(filepath.Join(c.dir, "dovecot.conf"), bytes.ReplaceAll(conf, []byte(h.dir), []byte(c.dir)), 0o644))
	return c
}

// An outcome is what a command led to.
type outcome struct {
	Out, Err string
	Code     int
}

func (h *home) command(program, conf string, args ...string) *exec.Cmd {
	options := []string{"-c", filepath.Join(h.dir, conf)}
	if h.location != "" {
		options = append(options, "-o", "mail_location="+h.location)
	}
	cmd := exec.Command(program, append(options, args...)...)
	cmd.Env = []string{"HOME=" + h.home(), "USER=tester", "PATH=" + os.Getenv("PATH")}
	if program == h.self {
		cmd.Env = append(cmd.Env, asDoveadm+"=1")
	}
	cmd.Dir = h.home()
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: mailUID, Gid: mailUID}}
	}
	return cmd
}

// What differs from run to run: the process and session, and the process in place of a
// user who is not known yet.
var (
	sessionTag = regexp.MustCompile(`<\d+><[^>]*>`)
	pidPrefix  = regexp.MustCompile(`(?m)^doveadm\(\d+\): `)
)

func (h *home) run(cmd *exec.Cmd, stdin string) outcome {
	h.t.Helper()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	clean := strings.NewReplacer(h.dir, "/dir")
	return outcome{
		clean.Replace(out.String()),
		pidPrefix.ReplaceAllString(sessionTag.ReplaceAllString(clean.Replace(errs.String()), ""), "doveadm(tester): "),
		cmd.ProcessState.ExitCode(),
	}
}

func (h *home) original(stdin string, args ...string) outcome {
	h.t.Helper()
	path, err := exec.LookPath("doveadm")
	if err != nil {
		h.t.Fatal("doveadm is not installed: run test/install-packages")
	}
	return h.run(h.command(path, "dovecot.conf", args...), stdin)
}

func (h *home) ours(stdin string, args ...string) outcome {
	h.t.Helper()
	return h.run(h.command(h.self, "dovecot.conf", args...), stdin)
}

// setUp runs the original, which must succeed.
func (h *home) setUp(stdin string, args ...string) string {
	h.t.Helper()
	r := h.original(stdin, args...)
	if r.Code != 0 || r.Err != "" {
		h.t.Fatalf("doveadm %q: %+v", args, r)
	}
	return r.Out
}

// state is what the original sees of the mail: messages, mailboxes, subscriptions.
func (h *home) state(fields string) string {
	h.t.Helper()
	return strings.Join([]string{
		sortedRecords(h.setUp("", "fetch", fields, "mailbox", "*", "all")),
		sortedLines(h.setUp("", "mailbox", "list")),
		sortedLines(h.setUp("", "mailbox", "list", "-s")),
		sortedLines(h.setUp("", "mailbox", "status", "messages unseen uidnext uidvalidity guid", "*")),
	}, "\n--\n")
}

func sortedLines(s string) string {
	lines := strings.SplitAfter(s, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

var flagsLine = regexp.MustCompile(`(?m)^flags: .*$`)

func sortedRecords(s string) string {
	records := strings.Split(s, "\f\n")
	for i := range records {
		records[i] = flagsLine.ReplaceAllStringFunc(records[i], func(line string) string {
			words := strings.Fields(line)[1:]
			slices.Sort(words)
			return "flags: " + strings.Join(words, " ")
		})
	}
	slices.Sort(records)
	return strings.Join(records, "\f\n")
}

const allFields = "mailbox uid guid flags date.received date.sent size.physical size.virtual pop3.uidl imap.envelope hdr body"

// fill makes mailboxes with messages.
func (h *home) fill() {
	h.t.Helper()
	for _, box := range []string{"Work", "Folder/Entwürfe", "Empty"} {
		h.setUp("", "mailbox", "create", "-s", box)
	}
	for n := range 6 {
		h.setUp(testMail(n), "save")
	}
	for n := range 3 {
		h.setUp(testMail(10+n), "save", "-m", "Folder/Entwürfe")
	}
	h.setUp(testMail(20), "save", "-m", "Trash")
	h.setUp("", "flags", "add", `\Seen $Label1`, "mailbox", "INBOX", "uid", "1:2")
	h.setUp("", "flags", "add", `\Flagged \Draft Custom`, "mailbox", "*", "uid", "3")
	h.setUp("", "copy", "Work", "mailbox", "INBOX", "uid", "1,3:4")
	h.setUp("", "expunge", "mailbox", "INBOX", "uid", "2")
	h.setUp("", "mailbox", "subscribe", "Folder/Gone")
}

func testMail(n int) string {
	text := fmt.Sprintf("From: A <a@example.org>\nTo: b@example.org\nSubject: mail %d\nDate: Mon, 1 Jan 2024 10:00:%02d +0200\nMessage-ID: <m%d@example.org>\n\n", n, n%60, n%5)
	return text + strings.Repeat("body line\n", 1+n%7)
}

// formats are locations of every format.
var formats = []string{"sdbox:~/mail", "mdbox:~/mail", "maildir:~/Maildir", "maildir:~/Maildir:LAYOUT=fs", "mbox:~/mail:INBOX=~/inbox"}

// both runs both programs and compares what they say.
func both(t *testing.T, a, b *home, stdin string, args ...string) {
	t.Helper()
	if diff := cmp.Diff(a.original(stdin, args...), b.ours(stdin, args...)); diff != "" {
		t.Errorf("doveadm %q (-original +ours):\n%s", args, diff)
	}
}

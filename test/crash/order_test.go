package crash

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A call is a system call of a traced process. begin and end are positions in the
// trace, which has the order of the kernel.
type call struct {
	name       string
	text       string // arguments and result
	begin, end int
}

var (
	wholeCall = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumed   = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
)

// How strace shows that a flush is asked for and that it is done, see package datasync.
var (
	flushBegun = regexp.MustCompile(`\{aio_data=(\w+), .*aio_lio_opcode=IOCB_CMD_FDSYNC, .*aio_fildes=(\d+<[^>]*>)`)
	flushDone  = regexp.MustCompile(`\{data=(\w+), [^}]*res=0,`)
)

const unfinished = " <unfinished ...>"

// parseTrace reads the output of strace -f.
func parseTrace(text string) []*call {
	var calls []*call
	open := make(map[string]*call) // by process id
	for n, line := range strings.Split(text, "\n") {
		if m := resumed.FindStringSubmatch(line); m != nil {
			if c := open[m[1]]; c != nil {
				c.text, c.end = c.text+m[3], n
				delete(open, m[1])
			}
			continue
		}
		m := wholeCall.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := &call{name: m[2], text: m[3], begin: n, end: n}
		if before, cut := strings.CutSuffix(c.text, unfinished); cut {
			c.text, open[m[1]] = before, c
		}
		calls = append(calls, c)
	}
	return append(calls, flushes(calls)...)
}

// flushes returns what io_submit(2) and io_getevents(2) did as if it had been done by fdatasync(2).
func flushes(calls []*call) []*call {
	var all []*call
	open := make(map[string]*call)
	for _, c := range calls {
		switch c.name {
		case "io_submit":
			if m := flushBegun.FindStringSubmatch(c.text); m != nil {
				open[m[1]] = &call{name: "fdatasync", begin: c.begin, text: m[2] + ") = 0"}
			}
		case "io_getevents":
			for _, m := range flushDone.FindAllStringSubmatch(c.text, -1) {
				if flush := open[m[1]]; flush != nil {
					flush.end = c.end
					all = append(all, flush)
					delete(open, m[1])
				}
			}
		}
	}
	return all
}

// fileArgument is the first argument with what strace -y knows of it.
var fileArgument = regexp.MustCompile(`^\d+<([^>]*)>`)

// file is the path of the file that the call is about.
func (c *call) file() string {
	m := fileArgument.FindStringSubmatch(c.text)
	if m == nil {
		return ""
	}
	return m[1]
}

// descriptor is the number of the file that the call is about.
func (c *call) descriptor() string {
	number, _, _ := strings.Cut(c.text, "<")
	return number
}

func (c *call) isWrite() bool {
	return slices.Contains([]string{"write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg"}, c.name)
}

// headerUpdate is how strace shows a log record of type 0x20: of the mailbox's
// header, such as the first recent UID. A client is promised nothing of it.
var headerUpdate = regexp.MustCompile(`index\.log>, "(?:\\\d{3}){4} \\0\\0\\0.* = 16$`)

func (c *call) isSync() bool {
	return slices.Contains([]string{"fdatasync", "fsync", "syncfs", "sync_file_range"}, c.name) && strings.HasSuffix(c.text, " = 0")
}

// trace runs do while a process is traced, and returns its system calls.
func trace(t *testing.T, pid int, do func()) []*call {
	t.Helper()
	out := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-y", "-v", "-s", "20000", "-o", out,
		"-e", "trace=write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,fsync,fdatasync,syncfs,sync_file_range,io_submit,io_getevents,rename,renameat,renameat2,linkat",
		"-p", strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "tracer on each thread", func() bool {
		tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
		for _, path := range tasks {
			text, _ := os.ReadFile(path)
			if strings.Contains(string(text), "TracerPid:\t0\n") {
				return false
			}
		}
		return len(tasks) > 0
	})
	do()
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return parseTrace(string(text))
}

// quoted is a string as strace shows it.
var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// escape is what strace shows of a byte that it does not print as it is.
var escape = regexp.MustCompile(`\\(?:[0-7]{1,3}|.)`)

// data is what the call writes.
func (c *call) data() string {
	var all strings.Builder
	for _, m := range quoted.FindAllStringSubmatch(c.text, -1) {
		all.WriteString(escape.ReplaceAllStringFunc(m[1], func(s string) string {
			if n, err := strconv.ParseUint(s[1:], 8, 8); err == nil {
				return string([]byte{byte(n)})
			}
			if i := strings.IndexByte("ntrvf", s[1]); i >= 0 {
				return "\n\t\r\v\f"[i : i+1]
			}
			return s[1:]
		}))
	}
	return all.String()
}

// A journal has what is written into mail files, too.
const journalDir = "/.dovetail-journal/"

// inJournal reports whether what w has written was written into a journal afterwards, and that
// synced before the position answered.
func inJournal(calls []*call, w *call, answered int) bool {
	data := w.data()
	return slices.ContainsFunc(calls, func(j *call) bool {
		return j.isWrite() && strings.Contains(j.file(), journalDir) && j.begin > w.end && strings.Contains(j.data(), data) &&
			slices.ContainsFunc(calls, func(c *call) bool {
				return c.isSync() && c.descriptor() == j.descriptor() && c.begin > j.end && c.end < answered
			})
	})
}

// syncedBeforeReply checks that before the reply began to be written, each write to a
// file whose path matches was synced, or is in a journal that was, and that there
// was one into which each of the texts was written.
func syncedBeforeReply(t *testing.T, calls []*call, reply, files string, texts ...string) {
	t.Helper()
	i := slices.IndexFunc(calls, func(c *call) bool { return c.isWrite() && strings.Contains(c.text, reply) })
	if i < 0 {
		t.Fatalf("no reply %q in a trace of %d calls", reply, len(calls))
	}
	answered := calls[i].begin
	var writes []*call
	wrote := make(map[string]bool)
	match := regexp.MustCompile(files)
	for _, c := range calls[:i] {
		if !c.isWrite() || !match.MatchString(c.file()) || headerUpdate.MatchString(c.text) {
			continue
		}
		writes = append(writes, c)
		for _, text := range texts {
			wrote[text] = wrote[text] || strings.Contains(c.text, text) || strings.Contains(c.file(), text)
		}
		if c.end > answered {
			t.Errorf("write to %s ends after the reply", c.file())
		}
	}
	for _, text := range texts {
		if !wrote[text] {
			t.Errorf("no file matching %s was given %q before the reply", files, text)
		}
	}
	for _, w := range writes {
		covered := slices.ContainsFunc(calls, func(c *call) bool {
			return c.isSync() && c.descriptor() == w.descriptor() && c.begin > w.end && c.end < answered
		})
		if !covered && !inJournal(calls, w, answered) {
			t.Errorf("%s was written and not synced before the reply %q: %s", w.file(), reply, w.text)
		}
	}
}

// 250 and OK are written after the sync that covers the message.
func TestAcknowledgementFollowsSync(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	const marker = "marks the message to look for"
	text := "From: sender@example.org\r\nSubject: " + marker + "\r\n\r\n" + strings.Repeat("text\r\n", 500)
	dialogue := func(c *harness.Client, hello, reply string) {
		c.Expect(t, hello, "250")
		c.Expect(t, "MAIL FROM:<sender@example.org>", "250")
		c.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
		c.Expect(t, "DATA", "354")
		c.Put(text)
		c.Expect(t, ".", reply)
	}
	t.Run("SMTP", func(t *testing.T) {
		c := harness.Connect(t, tr.SMTP)
		const reply = "250 2.0.0 Ok: queued as "
		calls := trace(t, tr.Child(t, "postfix/mta"), func() { dialogue(c, "EHLO client.example.org", reply) })
		syncedBeforeReply(t, calls, reply, `/segments/.*\.(?:seg|msg)$`, marker)
	})
	mail := mb.Child(t, "dovecot/lmtp")
	// The message's file and the log that makes it part of the mailbox.
	const files = `/dbox-Mails/(?:[^/]*dovecot\.index\.log$|u\.|\.temp|#|[^/]*tmp)`
	t.Run("LMTP", func(t *testing.T) {
		c := harness.Connect(t, mb.LMTP)
		const reply = "250 2.0.0 <user0@example.test>"
		calls := trace(t, mail, func() { dialogue(c, "LHLO client.example.org", reply) })
		syncedBeforeReply(t, calls, reply, files, marker, "dovecot.index.log")
	})
	t.Run("APPEND", func(t *testing.T) {
		c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
		calls := trace(t, mail, func() {
			c.Put("x APPEND INBOX {" + strconv.Itoa(len(text)) + "+}\r\n" + text + "\r\n")
			if _, _, err := c.Responses("x "); err != nil {
				t.Fatal(err)
			}
		})
		syncedBeforeReply(t, calls, "x OK [APPENDUID", files, marker, "dovecot.index.log")
	})
	t.Run("COPY", func(t *testing.T) {
		c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
		calls := trace(t, mail, func() { c.Must(t, "COPY 1 Archive") })
		syncedBeforeReply(t, calls, "OK [COPYUID", `/Archive`+files, "dovecot.index.log")
	})
}

package cleanup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/test/harness"
	"github.com/google/go-cmp/cmp"
)

// comparedConfig is what both are configured with. Postfix's queue manager is not told of
// the messages: they stay in the queue to be looked at.
const comparedConfig = `compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
myorigin = example.com
mydestination = example.com, mail.example.com, localhost
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_service_name = nobody
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_reject_unlisted_recipient = no
smtpd_data_restrictions =
smtpd_forbid_bare_newline = no
notify_classes =
remote_header_rewrite_domain = invalid.example
`

const numCompared = 40

// TestLikePostfix gives messages to Postfix's smtpd and cleanup, and to ours, with settings,
// tables, addresses and content chosen at random, and compares reply, envelope, content and
// log.
func TestLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start Postfix")
	}
	was := flavor.Name
	flavor.Name = "debian"
	t.Cleanup(func() { flavor.Name = was })
	rnd := rand.New(rand.NewPCG(6, 3))
	cases := make([]comparedCase, numCompared)
	services := ""
	for i := range cases {
		cases[i] = randomCase(rnd)
		clients := ""
		if !cases[i].local {
			clients = "static:{}"
		}
		services += fmt.Sprintf("smtpd%d unix - - n - 1 smtpd -o syslog_name=server%d -o cleanup_service_name=cleanup%d -o { local_header_rewrite_clients = %s }\n", i, i, i,
			map[bool]string{true: "permit_inet_interfaces, static:all", false: "permit_sasl_authenticated"}[clients == ""])
		services += fmt.Sprintf("cleanup%d unix n - n - 0 cleanup -o syslog_name=case%d\n", i, i)
		for name, value := range cases[i].set {
			services += fmt.Sprintf("  -o { %s = %s }\n", name, value)
		}
	}
	p := harness.StartPostfix(t, map[string]string{"main.cf": comparedConfig, "master.cf": services})
	for i := range cases {
		for k := range cases[i].messages {
			want := cases[i].throughPostfix(t, p, i, k)
			got := cases[i].throughOurs(t, k)
			if strings.Contains(strings.Join(want.Log, "\n"), "try again later") {
				if strings.Contains(strings.Join(got.Log, "\n"), ": discard: ") {
					continue // what is thrown away is not looked up
				}
				want.Log, got.Log = aboutTables(want.Log), aboutTables(got.Log)
			}
			want.Log, got.Log = tablesFirst(want.Log), tablesFirst(got.Log)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("case %d, message %d (- Postfix, + ours):\n%s\n%v\n%+v", i, k, diff, cases[i].set, cases[i].messages[k])
			}
		}
		if t.Failed() && i > 10 {
			t.Fatal("and so on")
		}
	}
}

// aboutTables is for messages that tables refuse: Postfix maps addresses before it looks at
// the content, which it leaves out then; which address is told first differs.
func aboutTables(log []string) []string {
	for _, line := range log {
		if strings.Contains(line, "try again later") {
			return []string{"try again later"}
		}
	}
	return nil
}

// tablesFirst moves what is about tables to the front: ours looks addresses of the envelope up
// after the header.
func tablesFirst(log []string) []string {
	about := func(line string) int {
		if strings.Contains(line, "_maps ") {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(log, func(a, b string) int { return about(a) - about(b) })
	return log
}

// A comparedCase is a configuration and some messages.
type comparedCase struct {
	set      map[string]string
	local    bool // the header is completed
	messages []comparedMessage
}

type comparedMessage struct {
	sender     string
	recipients []string
	content    string // lines that end in LF
}

// A comparedResult is what became of a message.
type comparedResult struct {
	Reply, Sender, Filter, Redirect string
	Recipients                      []string
	Hold                            bool
	Content                         string
	Log                             []string
}

var (
	generatedID   = regexp.MustCompile(`<\d{14}\.ID@`)
	generatedDate = regexp.MustCompile(`Date: \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)`)
)

// neutral replaces what is of the time and the queue.
func neutral(text, id string) string {
	if id != "" {
		text = strings.ReplaceAll(text, id, "ID")
	}
	return generatedDate.ReplaceAllString(generatedID.ReplaceAllString(text, "<TIME.ID@"), "Date: NOW")
}

// withoutReceived cuts the header off that the server added.
func withoutReceived(content string) string {
	_, rest, _ := strings.Cut(content, "\n")
	for strings.HasPrefix(rest, "\t") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	return rest
}

func (c *comparedCase) throughOurs(t *testing.T, k int) comparedResult {
	text := comparedConfig
	for name, value := range c.set {
		text += name + " = " + value + "\n"
	}
	main, err := postfix.Parse(t.TempDir(), text)
	if err != nil {
		t.Fatal(err)
	}
	var log []string
	logger := maillog.NewFunc(func(level maillog.Level, text string) {
		if level == maillog.Warning {
			text = "warning: " + text
		}
		log = append(log, neutral(text, "ABC"))
	})
	open, err := resolve.NewOpener(main, table.Options{Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolve.New(main, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := new(testQueue)
	cl, err := New(Config{Main: main, Resolver: res, Log: logger, Queue: func(time.Time) (Writer, error) { return q, nil }})
	if err != nil {
		t.Fatal(err)
	}
	msg := c.messages[k]
	m, err := cl.Start(context.Background(), Origin{
		Sender: msg.sender, Local: c.local, Source: "smtpd", Client: "localhost[127.0.0.1]", Proto: "ESMTP", Helo: "client.example",
	})
	if err != nil {
		t.Fatal(err)
	}
	env := &queue.Envelope{Sender: msg.sender}
	for _, r := range msg.recipients {
		env.Recipients = append(env.Recipients, queue.Recipient{Address: r, Original: r})
		m.Recipient(r)
	}
	m.Write([]byte("Received: x\r\n\ty\r\n"))
	m.Write([]byte(strings.ReplaceAll(msg.content, "\n", "\r\n")))
	err = m.Finish(context.Background(), env)
	r := comparedResult{Reply: "250 2.0.0 Ok: queued as ID", Log: comparable(log)}
	if err != nil {
		r.Reply = err.Error()
	}
	if !q.written {
		return r
	}
	r.Sender, r.Filter, r.Redirect, r.Hold = env.Sender, env.Filter, env.Redirect, env.Hold
	for _, rcpt := range env.Recipients {
		r.Recipients = append(r.Recipients, fmt.Sprintf("%s of %s notify=%d", rcpt.Address, rcpt.Original, rcpt.Notify))
	}
	if r.Redirect != "" {
		r.Recipients = nil
	}
	r.Content = neutral(strings.ReplaceAll(withoutReceived(q.body.String()), "\r\n", "\n"), "ABC")
	return r
}

// comparable leaves out what tables log about themselves.
func comparable(log []string) (kept []string) {
	for _, line := range log {
		if !strings.Contains(line, " lookup error for ") && !strings.Contains(line, "is unavailable") && !strings.Contains(line, "unable to look up public/") {
			kept = append(kept, line)
		}
	}
	return kept
}

func (c *comparedCase) throughPostfix(t *testing.T, p *harness.Postfix, i, k int) comparedResult {
	t.Helper()
	before := len(caseLog(p, i))
	msg := c.messages[k]
	reply := deliverTo(t, filepath.Join(p.Dir, "spool", "private", "smtpd"+strconv.Itoa(i)), &msg)
	lines := caseLog(p, i)
	// What cleanup logs is there before what smtpd logs after its reply.
	var id string
	harness.Eventually(t, "the log of cleanup", func() bool {
		lines = caseLog(p, i)[before:]
		if served(p, i) <= k || len(lines) == 0 {
			return false
		}
		for _, line := range lines {
			if qid, _, ok := strings.Cut(strings.TrimPrefix(line, "warning: "), ": "); ok && isQueueID(qid) {
				id = qid
			}
		}
		return id != ""
	})
	r := comparedResult{Reply: neutral(reply, id)}
	for _, line := range lines {
		r.Log = append(r.Log, neutral(line, id))
	}
	r.Log = comparable(r.Log)
	for _, name := range []string{"incoming", "hold"} {
		path := filepath.Join(p.Dir, "spool", name, id)
		if _, err := os.Stat(path); err == nil {
			r.Hold = name == "hold"
			r.readQueueFile(harness.Run(t, "", "postcat", "-c", p.Config(), path), id)
		}
	}
	return r
}

// served is how many sessions the server of a case has finished.
func served(p *harness.Postfix, i int) (n int) {
	for line := range strings.Lines(p.Log()) {
		if strings.Contains(line, fmt.Sprintf("server%d/smtpd[", i)) && strings.Contains(line, ": disconnect from ") {
			n++
		}
	}
	return n
}

func isQueueID(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(s) > 6
}

// caseLog is what the cleanup service of a case has logged.
func caseLog(p *harness.Postfix, i int) (lines []string) {
	tag := fmt.Sprintf(" case%d/cleanup[", i)
	alt := fmt.Sprintf(" postfix/case%d/cleanup[", i)
	for line := range strings.Lines(p.Log()) {
		_, text, ok := strings.Cut(line, tag)
		if !ok {
			_, text, ok = strings.Cut(line, alt)
		}
		if ok {
			_, text, _ = strings.Cut(text, "]: ")
			lines = append(lines, strings.TrimSuffix(text, "\n"))
		}
	}
	return lines
}

// readQueueFile reads what postcat shows.
func (r *comparedResult) readQueueFile(text, id string) {
	envelope, rest, _ := strings.Cut(text, "*** MESSAGE CONTENTS")
	_, rest, _ = strings.Cut(rest, "\n")
	content, extracted, _ := strings.Cut(rest, "*** HEADER EXTRACTED")
	original, notify := "", "0"
	for line := range strings.Lines(envelope + extracted) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "sender":
			r.Sender = value
		case "content_filter":
			r.Filter = value
		case "redirect_to":
			r.Redirect = value
		case "original_recipient":
			original = value
		case "named_attribute":
			if n, ok := strings.CutPrefix(value, "notify_flags="); ok {
				notify = n
			}
		case "recipient":
			r.Recipients = append(r.Recipients, fmt.Sprintf("%s of %s notify=%s", value, original, notify))
			notify = "0"
		}
	}
	if r.Redirect != "" {
		r.Recipients = nil
	}
	r.Content = neutral(withoutReceived(content), id)
}

// deliverTo speaks SMTP over a UNIX-domain socket and returns the reply to the content.
func deliverTo(t *testing.T, path string, msg *comparedMessage) string {
	t.Helper()
	var conn net.Conn
	harness.Eventually(t, "socket "+path, func() bool {
		var err error
		conn, err = net.Dial("unix", path)
		return err == nil
	})
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	var in strings.Builder
	ask := func(command string) string {
		t.Helper()
		if command != "" {
			if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 4096)
		for {
			if text := in.String(); strings.HasSuffix(text, "\r\n") {
				lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
				if last := lines[len(lines)-1]; len(last) > 3 && last[3] == ' ' {
					in.Reset()
					return last
				}
			}
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			in.Write(buf[:n])
		}
	}
	ask("")
	ask("EHLO client.example")
	commands := []string{"MAIL FROM:<" + string(appendPath(msg.sender)) + ">"}
	for _, r := range msg.recipients {
		commands = append(commands, "RCPT TO:<"+string(appendPath(r))+">")
	}
	for _, command := range append(commands, "DATA") {
		if reply := ask(command); reply[0] != '2' && reply[0] != '3' {
			t.Fatalf("%s: %s", command, reply)
		}
	}
	content := strings.ReplaceAll(strings.ReplaceAll("\n"+msg.content, "\n.", "\n.."), "\n", "\r\n")
	reply := ask(content[2:] + ".")
	conn.Write([]byte("QUIT\r\n"))
	return reply
}

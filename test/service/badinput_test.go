package service

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A door is a listener, and a dialogue that a well-behaved client has there.
type door struct {
	name, addr string
	dialogue   string
	last       string // how the server's last reply begins
}

// doors are the listeners of both services. Each dialogue of a mail protocol
// brings one message to user 0.
func doors(mb *harness.Mailbox, tr *harness.Transport) []door {
	user, pass := harness.User(0), harness.Password
	return []door{
		{"SMTP", tr.SMTP, "EHLO client.example.org\r\nMAIL FROM:<sender@example.org> SIZE=20\r\nRCPT TO:<" + user + ">\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n", "221 "},
		{"LMTP", mb.LMTP, "LHLO client.example.org\r\nMAIL FROM:<sender@example.org>\r\nRCPT TO:<" + user + ">\r\nDATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n", "221 "},
		{"IMAP", mb.IMAP, "1 LOGIN " + user + " " + pass + "\r\n2 SELECT INBOX\r\n3 SEARCH OR SEEN NOT (FLAGGED)\r\n4 APPEND Drafts {8+}\r\nx: y\r\n\r\n\r\n5 LOGOUT\r\n", "5 OK "},
		{"POP3", mb.POP3, "USER " + user + "\r\nPASS " + pass + "\r\nSTAT\r\nLIST\r\nQUIT\r\n", "+OK "},
	}
}

// sayLimit is how long a busy machine may take to answer.
const sayLimit = time.Minute

// say connects, sends text, and reads all that comes until the server closes, or, once what is
// wanted was among it, nothing more comes for the patience.
func say(addr, text, want string, patience time.Duration) string {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn.SetWriteDeadline(time.Now().Add(60 * time.Second))
		io.WriteString(conn, text) // the server may have enough before the end
	}()
	var all strings.Builder
	b := make([]byte, 64<<10)
	for wait := sayLimit; ; {
		if strings.Contains(all.String(), want) {
			wait = patience
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(b)
		all.Write(b[:n])
		if err != nil {
			conn.Close()
			<-done
			return all.String()
		}
	}
}

// nonsense is what no client should send, to any server.
func nonsense() map[string]string {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 100_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	return map[string]string{
		"random bytes":        string(random),
		"endless line":        strings.Repeat("A", 2<<20),
		"long line":           strings.Repeat("B", 100_000) + "\r\n",
		"NULs":                strings.Repeat("\x00", 1000) + "\r\n",
		"empty lines":         strings.Repeat("\r\n", 5000),
		"unknown commands":    strings.Repeat("x NONSENSE with arguments\r\n", 500),
		"bare line ends":      strings.Repeat("NOOP\n\r\n\r", 500),
		"TLS":                 "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 500),
		"HTTP":                "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"endless arguments":   "MAIL FROM:<" + strings.Repeat("a@", 50_000) + ">\r\nRCPT TO:<" + strings.Repeat("\"", 5000) + "\r\n",
		"literal too large":   "1 LOGIN {99999999999999999999}\r\n2 LOGIN {4294967295}\r\n3 LOGIN {2147483647+}\r\n",
		"literal without end": "1 LOGIN {10000000+}\r\n" + strings.Repeat("z", 100_000),
		"negative literal":    "1 LOGIN {-1}\r\n2 LOGIN {}\r\n3 LOGIN {1",
		"nested lists":        "1 LOGIN " + strings.Repeat("(", 100_000) + "\r\n",
		"quotes without end":  "1 LOGIN \"" + strings.Repeat("\\\"", 50_000) + "\r\n",
		"response to nothing": "1 AUTHENTICATE PLAIN\r\n" + strings.Repeat("=", 100_000) + "\r\n",
		"pipelined AUTH":      strings.Repeat("AUTH PLAIN\r\n*\r\n", 200),
	}
}

// loggedInNonsense is for the other side of a login.
func loggedInNonsense() map[string]string {
	return map[string]string{
		"sequence":          "2 FETCH " + strings.Repeat("1,", 50_000) + "1 FLAGS\r\n",
		"sequence range":    "2 FETCH 1:4294967295,4294967295:*,*:1 FLAGS\r\n3 FETCH 0 FLAGS\r\n4 FETCH 99999999999 FLAGS\r\n",
		"search nesting":    "2 SEARCH " + strings.Repeat("NOT ", 20_000) + "ALL\r\n3 SEARCH " + strings.Repeat("(", 20_000) + "\r\n",
		"append too large":  "2 APPEND INBOX {99999999999}\r\n",
		"append cut":        "2 APPEND INBOX {1000000+}\r\nSubject: cut\r\n\r\n",
		"mailbox names":     "2 CREATE \"" + strings.Repeat("a/", 2000) + "\"\r\n3 SELECT \"../../../etc/passwd\"\r\n4 SELECT \"&&&\"\r\n5 LIST \"\" \"" + strings.Repeat("*%", 2000) + "\"\r\n",
		"body section":      "2 SELECT INBOX\r\n3 FETCH 1 BODY[" + strings.Repeat("1.", 5000) + "1]\r\n4 FETCH 1 BODY[]<4294967295.4294967295>\r\n",
		"idle and nonsense": "2 IDLE\r\n" + strings.Repeat("x", 70_000) + "\r\n",
	}
}

// usage is memory and open files of a process.
type usage struct{ kilobytes, files int }

func (u usage) String() string { return fmt.Sprintf("%d KB, %d files", u.kilobytes, u.files) }

func usageOf(pid int) (u usage) {
	u.kilobytes, _ = strconv.Atoi(strings.TrimSuffix(harness.Status(pid, "VmRSS"), " kB"))
	files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	u.files = len(files)
	return u
}

const (
	rounds = 2 // of bad input

	// maxGrowth is how many KB a process may be larger after a round than before: a LIST of 2,000
	// mailboxes inside each other has names of 17 MB together, which stay with the heap for a while.
	maxGrowth = 40_000
)

// Whatever clients send, or do not send: the processes live, do not grow, and serve the next.
func TestBadInput(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix", Extra: "mail_max_userip_connections = 1000\n"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "lmtp:unix:" + mb.LMTPSocket, Main: "smtpd_error_sleep_time = 0\n"})
	all := doors(mb, tr)
	processes := make(map[string]int)
	for title, p := range map[string]*harness.Process{
		"dovecot/auth": mb.Process, "dovecot/imap-login": mb.Process, "dovecot/pop3-login": mb.Process, "dovecot/lmtp": mb.Process, "postfix/mta": tr.Process,
	} {
		processes[title] = p.Child(t, title)
	}
	wellBehaved := func() {
		t.Helper()
		for _, d := range all {
			answer := strings.TrimRight(say(d.addr, d.dialogue, "", sayLimit), "\r\n")
			if last := answer[strings.LastIndexByte(answer, '\n')+1:]; !strings.HasPrefix(last, d.last) {
				t.Errorf("%s: an ordinary session ends with %q:\n%s", d.name, last, answer)
			}
		}
		tr.Empty(t)
	}
	wellBehaved()
	complete := 2 // messages by SMTP and LMTP
	attack := func() {
		var clients sync.WaitGroup
		limit := make(chan struct{}, 20)
		do := func(f func()) {
			clients.Go(func() {
				limit <- struct{}{}
				defer func() { <-limit }()
				f()
			})
		}
		for _, d := range all {
			for name, text := range nonsense() {
				do(func() {
					if answer := say(d.addr, text, "\n", 500*time.Millisecond); answer == "" {
						t.Errorf("%s: no answer at all to %s", d.name, name)
					}
				})
			}
			for i := range d.dialogue {
				do(func() { leave(t, d, i) })
			}
			do(func() { dawdle(t, d) })
		}
		login := "1 LOGIN " + harness.User(0) + " " + harness.Password + "\r\n"
		for name, text := range loggedInNonsense() {
			do(func() {
				if answer := say(mb.IMAP, login+text, "\n1 OK", time.Second); !strings.Contains(answer, "1 OK") {
					t.Errorf("%s: %q", name, answer)
				}
			})
		}
		clients.Wait()
	}
	// What the first round leaves in memory is what sessions need at once; the second must not add
	// to it.
	before := make(map[string]usage)
	for range rounds {
		for title, pid := range processes {
			before[title] = usageOf(pid)
		}
		attack()
		complete += 2 // of those who dawdle
	}
	wellBehaved()
	complete += 2
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	untagged, _ := c.Must(t, "SEARCH HEADER Subject x")
	// A client that left right behind the final dot may have delivered, too.
	found := 0
	for _, line := range untagged {
		if rest, ok := strings.CutPrefix(line, "* SEARCH"); ok {
			found = len(strings.Fields(rest))
		}
	}
	if late := rounds * 2 * len("\nQUIT\r\n"); found < complete || found > complete+late {
		t.Errorf("%d messages were delivered, want %d and at most %d of clients that left before the reply", found, complete, late)
	}
	c.Close()
	for title, pid := range processes {
		if harness.Gone(pid) {
			t.Errorf("%s died", title)
			continue
		}
		var now usage
		harness.Eventually(t, title+" to forget its clients", func() bool {
			now = usageOf(pid)
			return now.files <= before[title].files+3
		})
		t.Logf("%s: %v, then %v", title, before[title], now)
		if now.kilobytes > before[title].kilobytes+maxGrowth {
			t.Errorf("%s has grown from %v to %v", title, before[title], now)
		}
	}
}

// leave says the first n bytes of a dialogue and leaves without a word.
func leave(t *testing.T, d door, n int) {
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	io.WriteString(conn, d.dialogue[:n])
}

// dawdle has the dialogue byte by byte.
func dawdle(t *testing.T, d door) {
	c, err := harness.Dial(d.addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	go func() {
		for i := range d.dialogue {
			if c.Put(d.dialogue[i:i+1]) != nil {
				return
			}
			time.Sleep(time.Millisecond) // slower than any client, faster than the test's patience
		}
	}()
	last := ""
	for {
		line, err := c.Line()
		if err != nil {
			break
		}
		last = line
	}
	if !strings.HasPrefix(last, d.last) {
		t.Errorf("%s: the session of a slow client ends with %q", d.name, last)
	}
}

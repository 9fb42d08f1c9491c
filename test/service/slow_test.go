package service

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// bulk is a message that no buffer on its way holds.
func bulk() string {
	var b strings.Builder
	b.WriteString("Subject: bulk\r\n\r\n")
	for i := 0; b.Len() < 8<<20; i++ {
		fmt.Fprintf(&b, "line %d of many, none of which is empty or begins with a dot\r\n", i)
	}
	return b.String()
}

// A stalled client has stopped in the middle of something.
type stalled struct {
	what   string
	conn   net.Conn
	resume func(*testing.T, *stalled) // nil: it just leaves
}

// stall connects and sends text, which is not all, and reads no more than up to
// the first line that begins with until, if it is not empty.
func stall(t *testing.T, what, addr string, secure bool, text, until string, resume func(*testing.T, *stalled)) *stalled {
	t.Helper()
	dialed, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	raw := dialed.(*net.TCPConn)
	raw.SetReadBuffer(64 << 10)
	raw.SetDeadline(time.Now().Add(2 * time.Minute))
	conn := dialed
	if secure {
		conn = tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if until != "" {
		if line, err := readUntil(conn, until); err != nil {
			t.Fatalf("%s: %q, %v", what, line, err)
		}
	}
	return &stalled{what, conn, resume}
}

// readUntil reads lines, no byte beyond, up to one that begins so.
func readUntil(conn net.Conn, begin string) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := conn.Read(b); err != nil {
			return string(line), err
		}
		if line = append(line, b[0]); b[0] != '\n' {
			continue
		}
		if strings.HasPrefix(string(line), begin) {
			return string(line), nil
		}
		line = line[:0]
	}
}

// readsRest reads what a client has left unread: the message of which it has read the
// announcement.
func readsRest(want string) func(*testing.T, *stalled) {
	return func(t *testing.T, s *stalled) {
		got := make([]byte, len(want))
		if n, err := io.ReadFull(s.conn, got); err != nil || sha256.Sum256(got) != sha256.Sum256([]byte(want)) {
			t.Errorf("%s: %d bytes of %d, or not the message: %v", s.what, n, len(want), err)
		}
	}
}

// says sends the rest and wants an answer.
func says(rest, want string) func(*testing.T, *stalled) {
	return func(t *testing.T, s *stalled) {
		if _, err := io.WriteString(s.conn, rest); err != nil {
			t.Errorf("%s: %v", s.what, err)
		}
		if line, err := readUntil(s.conn, want); err != nil {
			t.Errorf("%s: the answer to the rest is %q, %v; want %s", s.what, line, err, want)
		}
	}
}

// Clients that stop in the middle of a literal, of a message, of a TLS handshake, or of
// reading a large answer cost nobody else time or much memory. When they
// go on, nothing is lost.
func TestSlowClients(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix", Extra: "mail_max_userip_connections = 1000\n"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Deliver: "lmtp:unix:" + mb.LMTPSocket})
	text := bulk()
	login := "1 LOGIN " + harness.User(0) + " " + harness.Password + "\r\n"
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	c.Must(t, fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(text), text))
	if got := fetchText(t, c); got != text {
		t.Fatalf("%d bytes come back of %d", len(got), len(text))
	}
	pids := make(map[string]int)
	for _, title := range []string{"dovecot/auth", "dovecot/imap-login", "dovecot/pop3-login", "dovecot/lmtp"} {
		pids[title] = mb.Process.Child(t, title)
	}
	pids["postfix/mta"] = tr.Process.Child(t, "postfix/mta")
	all := doors(mb, tr)
	for _, d := range all { // warm
		onTime(t, d)
	}
	before := make(map[string]usage)
	for title, pid := range pids {
		before[title] = usageOf(pid)
	}

	const each = 4
	half := len(text) / 2
	size := strconv.Itoa(len(text))
	pop := "USER " + harness.User(0) + "\r\nPASS " + harness.Password + "\r\nRETR 1\r\n"
	envelope := "MAIL FROM:<s@example.org>\r\nRCPT TO:<" + harness.User(0) + ">\r\nDATA\r\n"
	var slow []*stalled
	for range each {
		for _, secure := range []bool{false, true} {
			imap, pop3 := mb.IMAP, mb.POP3
			if secure {
				imap, pop3 = mb.IMAPS, mb.POP3S
			}
			slow = append(slow,
				stall(t, "reads a FETCH late", imap, secure, login+"2 SELECT INBOX\r\n3 FETCH 1 BODY.PEEK[]\r\n", "* 1 FETCH (BODY[] {"+size+"}", readsRest(text)),
				stall(t, "reads a RETR late", pop3, secure, pop, "+OK "+size+" octets", readsRest(text)),
				stall(t, "stops in APPEND", imap, secure, login+"2 APPEND INBOX {"+size+"+}\r\n"+text[:half], "1 OK", says(text[half:]+"\r\n", "2 OK")),
				stall(t, "stops in a command's literal", imap, secure, login+"2 SELECT {5+}\r\nINB", "1 OK", says("OX\r\n", "2 OK")),
				stall(t, "stops in LOGIN", imap, secure, "1 LOGIN {"+strconv.Itoa(len(harness.User(0)))+"+}\r\nuser", "* OK", says("0@"+harness.Domain+" "+harness.Password+"\r\n", "1 OK")),
				stall(t, "stops in a line", pop3, secure, "USER us", "+OK", says("er0@"+harness.Domain+"\r\nPASS "+harness.Password+"\r\n", "+OK Logged in")),
			)
		}
		chunk := stall(t, "stops in a chunk", tr.SMTP, false, "EHLO c\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<"+harness.User(0)+">\r\n", "250 2.1.5", says(text[half:], "250 2.0.0"))
		if _, err := io.WriteString(chunk.conn, "BDAT "+size+" LAST\r\n"+text[:half]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow,
			stall(t, "stops in DATA", mb.LMTP, false, "LHLO c\r\n"+envelope+text[:half], "354 ", says(text[half:]+".\r\n", "250 2.0.0")),
			stall(t, "stops in DATA", tr.SMTP, false, "EHLO c\r\n"+envelope+text[:half], "354 ", says(text[half:]+".\r\n", "250 2.0.0")),
			chunk,
			stall(t, "never ends its handshake", mb.IMAPS, false, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", nil),
		)
	}
	t.Logf("%d clients have stopped", len(slow))

	for range 3 {
		var others sync.WaitGroup
		for _, d := range all {
			others.Go(func() { onTime(t, d) })
		}
		others.Wait()
	}
	if got := fetchText(t, c); got != text {
		t.Errorf("the message that others read late has %d bytes of %d", len(got), len(text))
	}
	for title, pid := range pids {
		now := usageOf(pid)
		t.Logf("%s: %v, then %v", title, before[title], now)
		// Room for buffers of each, not for messages.
		if grown := now.kilobytes - before[title].kilobytes; grown > 25_000 {
			t.Errorf("%s has grown by %d KB for %d clients that wait", title, grown, len(slow))
		}
	}

	var resumed sync.WaitGroup
	appended := 0
	for _, s := range slow {
		if strings.Contains(s.what, "APPEND") || strings.Contains(s.what, "DATA") || strings.Contains(s.what, "chunk") {
			appended++
		}
		resumed.Go(func() {
			if s.resume != nil {
				s.resume(t, s)
			}
			s.conn.Close()
		})
	}
	resumed.Wait()
	tr.Empty(t)
	c.Must(t, "NOOP")
	if found, _ := c.Must(t, "SEARCH SUBJECT bulk"); len(strings.Fields(found[0])) != 2+1+appended {
		t.Errorf("of %d messages sent late there are: %q", appended, found)
	}
	if found, _ := c.Must(t, "SEARCH SUBJECT bulk NOT LARGER "+strconv.Itoa(len(text)-1)); strings.Join(found, "") != "* SEARCH" {
		t.Errorf("cut short: %q", found)
	}
}

// fetchText reads message 1.
func fetchText(t *testing.T, c *harness.Client) string {
	t.Helper()
	untagged, _ := c.Must(t, "FETCH 1 BODY.PEEK[]")
	for _, response := range untagged {
		if head, text, ok := strings.Cut(response, "}\r\n"); ok && strings.HasPrefix(head, "* 1 FETCH (BODY[] ") {
			return strings.TrimSuffix(text, ")")
		}
	}
	return ""
}

// onTime has an ordinary session, which must not take long.
func onTime(t *testing.T, d door) {
	t.Helper()
	began := time.Now()
	answer := strings.TrimRight(say(d.addr, d.dialogue, "", sayLimit), "\r\n")
	if last := answer[strings.LastIndexByte(answer, '\n')+1:]; !strings.HasPrefix(last, d.last) {
		t.Errorf("%s: an ordinary session ends with %q:\n%s", d.name, last, answer)
	}
	if took := time.Since(began); took > sayLimit/2 { // and not as long as the others wait
		t.Errorf("%s: an ordinary session took %v", d.name, took)
	}
}

// An SMTP client that stops has smtpd_timeout; one that is slow, but goes on, may take
// longer than that altogether.
func TestSMTPTimeout(t *testing.T) {
	const timeout = 4 * time.Second
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Deliver: "lmtp:unix:" + mb.LMTPSocket, Main: "smtpd_timeout = " + timeout.String() + "\nsmtpd_starttls_timeout = " + timeout.String() + "\n",
	})
	hello := "EHLO c\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<" + harness.User(0) + ">\r\n"
	var clients sync.WaitGroup
	for what, text := range map[string]string{
		"at once":            "",
		"in a command":       "EHLO c\r\nMAIL FRO",
		"in DATA":            hello + "DATA\r\nSubject: cut\r\n\r\ntext",
		"before the dot":     hello + "DATA\r\nSubject: cut\r\n\r\ntext\r\n",
		"in BDAT":            hello + "BDAT 100 LAST\r\nSubject: cut\r\n\r\n",
		"between the chunks": hello + "BDAT 16\r\nSubject: cut\r\n\r\n",
		"in AUTH":            "EHLO c\r\nAUTH PLAIN\r\n",
		"in the handshake":   "EHLO c\r\nSTARTTLS\r\n",
	} {
		clients.Go(func() {
			addr := tr.SMTP
			if what == "in AUTH" {
				addr = tr.Submission
			}
			began := time.Now()
			answer := say(addr, text, "", 2*sayLimit)
			took := time.Since(began)
			if took < timeout || took > timeout+sayLimit {
				t.Errorf("%s: ended after %v:\n%s", what, took, answer)
			}
			if what != "in the handshake" && what != "in AUTH" && !strings.Contains(answer, "421 4.4.2 mail.example.test Error: timeout exceeded\r\n") {
				t.Errorf("%s: got %q", what, answer)
			}
		})
	}
	clients.Go(func() { // takes long, and never pauses for long
		c, err := harness.Dial(tr.SMTP)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		began := time.Now()
		for _, line := range strings.SplitAfter(hello+"DATA\r\nSubject: slow\r\n\r\n"+strings.Repeat("word\r\n", 32)+".\r\n", "\n") {
			if c.Put(line) != nil {
				break
			}
			time.Sleep(timeout / 32)
		}
		if took := time.Since(began); took < timeout {
			t.Errorf("took only %v", took)
		}
		for line := ""; !strings.HasPrefix(line, "250 2.0.0 Ok: queued"); {
			if line, err = c.Line(); err != nil {
				t.Errorf("slow client: %q, %v", line, err)
				return
			}
		}
	})
	clients.Wait()
	tr.Empty(t)
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	if found, _ := c.Must(t, "SEARCH ALL"); strings.Join(found, "") != "* SEARCH 1" {
		t.Errorf("messages: %q", found)
	}
	if found, _ := c.Must(t, "SEARCH SUBJECT slow"); strings.Join(found, "") != "* SEARCH 1" {
		t.Errorf("the one delivered: %q", found)
	}
}

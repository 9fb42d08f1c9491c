package switching

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/test/harness"
)

const letter = "From: Sender <sender@origin.test>\r\nTo: somebody@sink.test\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n" +
	"Message-ID: <letter@origin.test>\r\nSubject: waiting\r\n\r\nHello,\r\n.leading dot\r\n..two\r\n\r\nbye\r\n"

// letters are the messages that wait in Postfix's queue.
var letters = []struct {
	from string
	to   []string
	body string
}{
	{"<sender@origin.test>", []string{"<single@sink.test>"}, letter},
	{"<sender@origin.test>", []string{"<done1@sink.test>", "<soft1@sink.test>", "<soft2@sink.test>"}, letter},
	{"<sender@origin.test>", []string{"<done2@sink.test>", "<hard@sink.test>", "<soft3@sink.test>"}, letter},
	{"<>", []string{"<null@sink.test>"}, letter},
	{"<sender@origin.test> ENVID=QQ+2B314159 RET=HDRS", []string{
		"<dsn1@sink.test> NOTIFY=SUCCESS,DELAY,FAILURE ORCPT=rfc822;Orig+2BOne@sink.test", "<dsn2@sink.test> NOTIFY=NEVER",
		"<done3@sink.test> NOTIFY=FAILURE", "<dsn3@sink.test>",
	}, letter},
	{"<jos\u00e9@origin.test> SMTPUTF8", []string{"<m\u00fcller@sink.test>"}, strings.Replace(letter, "waiting", "gr\u00fc\u00dfe", 1)},
	{"<sender@origin.test> BODY=8BITMIME", []string{"<eight@sink.test>"}, letter + "caf\xe9 \xff\xfe\r\n"},
	{"<\"a sender\"@origin.test>", []string{"<\"a b\"@sink.test>"}, letter},
	{"<sender@origin.test>", []string{"<long@sink.test>"}, letter + strings.Repeat("x", 2047) + "\r\n" + strings.Repeat("y", 2048) +
		"\r\n" + strings.Repeat("z", 2049) + "\r\n" + strings.Repeat("0123456789", 700) + "\r\nNUL \x00 here\r\n"},
	{"<sender@origin.test>", []string{"<hold@sink.test>"}, letter},
	{"<sender@origin.test>", []string{"<large@sink.test>"}, letter + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n", 20000)},
}

// submitted is sent with sendmail(1) when no mail system runs.
const submitted = "To: drop@sink.test\nSubject: from the maildrop\n\nline\n.dot\nlast"

// submit leaves a message in the maildrop.
func submit(t *testing.T, tr *harness.Transport) {
	t.Helper()
	harness.Run(t, submitted, "/usr/sbin/sendmail", "-C", tr.Config, "-i", "-f", "user@origin.test", "drop@sink.test")
	if names, _ := filepath.Glob(filepath.Join(tr.Dir, "spool/maildrop/*")); len(names) != 1 {
		t.Fatalf("in the maildrop: %q", names)
	}
}

// leaveReport puts a message on hold of which a recipient has failed and the
// sender was not told yet, as Postfix leaves it when it stops in between.
func leaveReport(t *testing.T, tr *harness.Transport) {
	t.Helper()
	spool := filepath.Join(tr.Dir, "spool")
	const id = "0000ABCDEF0"
	f, err := os.OpenFile(filepath.Join(spool, "hold", id), os.O_RDWR|os.O_CREATE, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &queuefile.Message{
		Arrival: time.Now(), Created: time.Now(), Sender: "reported@origin.test", Context: "local",
		Recipients: []queuefile.Recipient{
			{Address: "soft4@sink.test", Original: "soft4@sink.test", Type: queuefile.TypeRecipient},
			{Address: "hard9@sink.test", Original: "hard9@sink.test", Type: queuefile.TypeDone},
		},
	}
	if err := m.Compose(f, strings.NewReader(letter)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := queuefile.WriteLog(&log, []queuefile.Entry{{
		Recipient: "hard9@sink.test", Original: "hard9@sink.test", Offset: m.Recipients[1].Offset,
		Status: "5.1.1", Action: "failed", Reason: "the reason of the failure",
	}}); err != nil {
		t.Fatal(err)
	}
	harness.Write(t, filepath.Join(spool, "bounce", id), log.String())
	harness.Run(t, "", "chown", "postfix:postfix", filepath.Join(spool, "hold", id), filepath.Join(spool, "bounce", id))
	harness.Run(t, "", "chmod", "0600", filepath.Join(spool, "bounce", id))
}

const settings = `
smtpd_peername_lookup = no
smtputf8_enable = yes
smtp_line_length_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
minimal_backoff_time = 1h
maximal_backoff_time = 1h
queue_run_delay = 1h
bounce_queue_lifetime = 5d
delay_warning_time = 2h
maximal_queue_lifetime = 5d
myorigin = origin.test
`

// send submits a message by SMTP, each byte as it is.
func send(t *testing.T, addr, from string, to []string, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	expect := func(code string) {
		t.Helper()
		for {
			line, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, code) {
				t.Fatalf("%q, %v instead of %s", line, err, code)
			}
			if line[3] == ' ' {
				return
			}
		}
	}
	expect("220")
	say := func(code, line string) {
		t.Helper()
		fmt.Fprintf(conn, "%s\r\n", line)
		expect(code)
	}
	say("250", "EHLO client.test")
	say("250", "MAIL FROM:"+from)
	for _, rcpt := range to {
		say("250", "RCPT TO:"+rcpt)
	}
	say("354", "DATA")
	body = strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")[2:]
	say("250", body+".")
	say("221", "QUIT")
}

// A waiting message is one of the queue listing.
type waiting struct {
	Queue      string `json:"queue_name"`
	ID         string `json:"queue_id"`
	Arrival    int64  `json:"arrival_time"`
	Sender     string `json:"sender"`
	Recipients []struct {
		Address string `json:"address"`
		Reason  string `json:"delay_reason"`
	} `json:"recipients"`
}

func listing(t *testing.T, tr *harness.Transport) []waiting {
	t.Helper()
	var text string
	// Right after the start the command warns of what is not there yet.
	harness.Eventually(t, "listing without warnings", func() bool {
		text = tr.Postqueue(t, "-j")
		return !strings.Contains("\n"+text, "\npostqueue: ")
	})
	var all []waiting
	for dec := json.NewDecoder(strings.NewReader(text)); ; {
		var w waiting
		err := dec.Decode(&w)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if w.ID == "" {
			t.Fatalf("listing without an ID")
		}
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b waiting) int { return strings.Compare(a.key(), b.key()) })
	return all
}

func (w *waiting) key() string { return fmt.Sprint(w.Sender, w.Recipients) }

// fill makes Postfix's queue, and returns its listing.
func fill(t *testing.T, tr *harness.Transport) []waiting {
	t.Helper()
	for _, l := range letters {
		send(t, tr.SMTP, l.from, l.to, l.body)
	}
	var list []waiting
	harness.Eventually(t, "all mail deferred", func() bool {
		list = listing(t, tr)
		for _, w := range list {
			if w.Queue != "deferred" || slices.ContainsFunc(w.Recipients, func(r struct {
				Address string `json:"address"`
				Reason  string `json:"delay_reason"`
			}) bool {
				return r.Reason == ""
			}) {
				return false
			}
		}
		// The report about the refused recipient is one more.
		return len(list) == len(letters)+1
	})
	for _, w := range list {
		if w.Recipients[0].Address == "hold@sink.test" {
			harness.Run(t, "", "/usr/sbin/postsuper", "-c", tr.Config, "-h", w.ID)
		}
	}
	return listing(t, tr)
}

// contents are those of Postfix's files, by their undone recipients.
func contents(t *testing.T, spool string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, q := range []string{"deferred", "hold", "incoming", "active"} {
		err := filepath.WalkDir(filepath.Join(spool, q), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			m, err := queuefile.Parse(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			text, err := io.ReadAll(m.Content())
			for _, r := range m.Recipients {
				if r.Type == queuefile.TypeRecipient {
					all[r.Address] = string(text)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// become starts the other program on the same directory.
func become(t *testing.T, tr *harness.Transport, p harness.Program) {
	t.Helper()
	tr.Program = p
	tr.Start(t)
}

func export(t *testing.T, tr *harness.Transport) {
	t.Helper()
	t.Logf("%s", harness.Run(t, "", harness.Binary(t), "export-queue", "-c", tr.Config))
}

// settle lets the program that runs deliver everything.
func settle(t *testing.T, tr *harness.Transport, s *sink) []delivered {
	t.Helper()
	before := len(s.all())
	s.openUp()
	if tr.Program == harness.Original {
		// Its status is 1 where it cannot log yet. What stays on hold is seen.
		harness.Try("", "/usr/sbin/postsuper", "-c", tr.Config, "-H", "ALL")
	} else {
		harness.Run(t, "", harness.Binary(t), "postsuper", "-c", tr.Config, "-H", "ALL")
	}
	harness.Eventually(t, "empty queue", func() bool {
		tr.Postqueue(t, "-f")
		return strings.Contains(tr.Postqueue(t, "-p"), "Mail queue is empty")
	})
	return s.all()[before:]
}

func withoutReport(list []waiting) []waiting {
	return slices.DeleteFunc(list, func(w waiting) bool { return w.Sender == "reported@origin.test" })
}

// compareReport says whether the sender was told of the failure, once.
func compareReport(t *testing.T, got []delivered) {
	t.Helper()
	n := 0
	for _, d := range got {
		if d.to == "reported@origin.test" && d.mail[:2] == "<>" {
			n++
			for _, want := range []string{"<hard9@sink.test>: the reason of the failure", "Final-Recipient: rfc822; hard9@sink.test", "Status: 5.1.1"} {
				if !strings.Contains(d.data, want) {
					t.Errorf("the report lacks %q:\n%s", want, d.data)
				}
			}
		}
	}
	if n != 1 {
		t.Errorf("%d reports of the failure", n)
	}
}

// compareSubmitted looks at what came of the message in the maildrop.
func compareSubmitted(t *testing.T, got []delivered) {
	t.Helper()
	n := 0
	for _, d := range got {
		if d.to != "drop@sink.test" {
			continue
		}
		n++
		head, body, _ := strings.Cut(d.data, "\r\n\r\n")
		if body != "line\r\n.dot\r\nlast\r\n" || !strings.HasPrefix(d.mail, "<user@origin.test>") {
			t.Errorf("MAIL FROM:%s, body %q", d.mail, body)
		}
		for _, want := range []string{"Received: by mail.example.test (Postfix, from userid 0)\r\n\tid ", "Message-Id: <", "user@origin.test", "Date: "} {
			if !strings.Contains(head, want) {
				t.Errorf("the header lacks %q:\n%s", want, head)
			}
		}
	}
	if n != 1 {
		t.Errorf("the message in the maildrop came %d times", n)
	}
}

// compare says whether each recipient has the message once.
func compare(t *testing.T, want map[string]string, got []delivered) {
	t.Helper()
	times := make(map[string]int)
	for _, d := range got {
		addr := strings.ReplaceAll(d.to, `"`, "")
		text, ok := want[addr]
		if addr == "drop@sink.test" || addr == "reported@origin.test" {
			continue // compared by themselves
		}
		times[addr]++
		switch {
		case !ok:
			t.Errorf("delivery to %s, who was done", addr)
		case text != d.data:
			t.Errorf("%s got\n%.2000q\nwant\n%.2000q", addr, d.data, text)
		}
	}
	for addr := range want {
		if times[addr] != 1 {
			t.Errorf("%s got the message %d times", addr, times[addr])
		}
	}
}

func transport(t *testing.T, s *sink, more string) *harness.Transport {
	t.Helper()
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	return harness.NewTransport(t, harness.Original, harness.TransportOptions{Relay: "smtp:[127.0.0.1]:" + port, Main: settings + more})
}

// TestMaildrop has submissions waiting in the maildrop when Dovetail starts: one
// that is new, one that was delivered in part and put back there.
func TestMaildrop(t *testing.T) {
	s := newSink(t)
	tr := transport(t, s, "")
	tr.Start(t)
	send(t, tr.SMTP, "<sender@origin.test>", []string{"<done1@sink.test>", "<soft1@sink.test>"}, letter)
	var list []waiting
	harness.Eventually(t, "mail deferred", func() bool {
		list = listing(t, tr)
		return len(list) == 1 && list[0].Queue == "deferred"
	})
	tr.Stop()
	// It cannot log while Postfix is stopped, and says so by its status.
	harness.Try("", "/usr/sbin/postsuper", "-c", tr.Config, "-r", list[0].ID)
	harness.Run(t, "", "mv", filepath.Join(tr.Dir, "spool/maildrop", list[0].ID), tr.Dir)
	submit(t, tr)
	harness.Run(t, "", "mv", filepath.Join(tr.Dir, list[0].ID), filepath.Join(tr.Dir, "spool/maildrop"))
	become(t, tr, harness.Dovetail)
	harness.Eventually(t, "empty maildrop", func() bool {
		names, _ := filepath.Glob(filepath.Join(tr.Dir, "spool/maildrop/*"))
		return len(names) == 0
	})
	got := settle(t, tr, s)
	compareSubmitted(t, got)
	again := 0
	for _, d := range got {
		if d.to == "soft1@sink.test" {
			again++
			if !strings.HasPrefix(d.data, "Received: by mail.example.test (Postfix, from userid ") || !strings.HasSuffix(d.data, letter) {
				t.Errorf("what was put back into the maildrop:\n%s", d.data)
			}
		}
	}
	if again != 1 || len(got) != 2 {
		t.Errorf("%d deliveries, %d of them of what was put back", len(got), again)
	}
	tr.Stop()
}

// TestSwitch stops Postfix with a full queue and starts Dovetail, which delivers;
// or goes back, and Postfix delivers.
func TestSwitch(t *testing.T) {
	var parameters [2][]string
	for i, name := range []string{"there", "there and back"} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t)
			tr := transport(t, s, []string{"", "enable_long_queue_ids = yes\n"}[i])
			tr.Start(t)
			before := fill(t, tr)
			refuse(t, tr)
			tr.Stop()
			leaveReport(t, tr)
			want := contents(t, filepath.Join(tr.Dir, "spool"))

			become(t, tr, harness.Dovetail)
			if diff := cmp.Diff(before, withoutReport(listing(t, tr))); diff != "" {
				t.Errorf("listing by Postfix, then by Dovetail (-/+):\n%s", diff)
			}
			if i == 1 {
				tr.Stop()
				export(t, tr)
				become(t, tr, harness.Original)
				if diff := cmp.Diff(before, withoutReport(listing(t, tr))); diff != "" {
					t.Errorf("listing by Postfix, then by Postfix again (-/+):\n%s", diff)
				}
			}
			got := settle(t, tr, s)
			compare(t, want, got)
			compareReport(t, got)
			for _, d := range got {
				if !strings.HasPrefix(d.mail, "<>") || strings.Contains(d.to, "null") {
					parameters[i] = append(parameters[i], d.normal())
				}
			}
			slices.Sort(parameters[i])
			tr.Stop()
		})
	}
	if diff := cmp.Diff(parameters[1], parameters[0]); diff != "" {
		t.Errorf("MAIL and RCPT as Postfix and as Dovetail send them (-/+):\n%s", diff)
	}
}

package smtpd

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mta/milter/miltertest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// milterCase is what milters do, and what a client says to the server before them.
type milterCase struct {
	name   string
	config string // MILTER stands for the address of the first, MILTER2 of the second, PROXY of a next hop
	first  miltertest.Script
	second *miltertest.Script
	say    string // commands; the usual ones where it is empty
	// otherWords is that the log tells of the failure in other words.
	otherWords bool
}

const (
	usualMail = "EHLO c|MAIL FROM:<a@b.example> SIZE=10|RCPT TO:<alice@example.com>|DATA|"
	usualText = "Subject: orig\n folded\nTo: alice@example.com\nX-Old:one\nX-Old: two\n\nhi\nthere\n."
	allSteps  = 1<<21 - 1
)

type answers = map[byte][]miltertest.Packet

func num(n uint32) string { return miltertest.Number(n) }

// milterCases are each answer at each stage, and each change.
func milterCases() []milterCase {
	cases := []milterCase{
		{name: "nothing"},
		{name: "progress", first: miltertest.Script{Answers: answers{'M': {"p", "p", "c"}, 'E': {"p", "c"}}}},
		{name: "add header", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-New\x00value\x00", "hX-Two\x00a\n\tb\nc\x00", "c"}}}},
		{name: "insert header", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {
			miltertest.Packet("i" + num(0) + "X-Zero\x000\x00"), miltertest.Packet("i" + num(2) + "X-Two\x002\x00"), miltertest.Packet("i" + num(99) + "X-Last\x0099\x00"), "c"}}}},
		{name: "change header", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {
			miltertest.Packet("m" + num(1) + "subject\x00new\x00"), miltertest.Packet("m" + num(2) + "X-Old\x00\x00"), miltertest.Packet("m" + num(0) + "To\x00you\x00"),
			miltertest.Packet("m" + num(7) + "X-Old\x00added\x00"), miltertest.Packet("m" + num(1) + "Received\x00not ours\x00"), "c"}}}},
		{name: "leading space", first: miltertest.Script{Actions: 0x1ff, Steps: 1 << 20, Answers: answers{'E': {"hX-New\x00value\x00", "c"}}}},
		{name: "replace body", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"bnew\r\nbo", "bdy\nlast", "hX-New\x00v\x00", "c"}}}},
		{name: "body twice", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"bnew\r\n", "hX-New\x00v\x00", "bagain\r\n", "c"}}}},
		{name: "recipients", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {
			"+<bob@example.com>\x00", "2<many@alias.example>\x00NOTIFY=NEVER\x00", "-<alice@example.com>\x00", "+<bob@example.com>\x00", "c"}}}},
		{name: "sender", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"e<new@b.example>\x00", "c"}}}},
		{name: "sender with parameters", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"e<new@b.example>\x00RET=HDRS ENVID=x+2By SIZE=7\x00", "c"}}}},
		{name: "quarantine", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"qreason\x00", "c"}}}},
		{name: "quarantine and reject", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"qreason\x00", "r"}}}},
		{name: "change and reject", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-New\x00v\x00", "r"}}}},
		{name: "skip body", first: miltertest.Script{Answers: answers{'B': {"s"}, 'L': {"s"}}}},
		{name: "no steps", first: miltertest.Script{Steps: 0x3ff &^ (1 << 7)}},
		{name: "no answers", first: miltertest.Script{Steps: allSteps &^ 0x37f}},
		{name: "old protocol", first: miltertest.Script{Version: 2}},
		{name: "version 4", first: miltertest.Script{Version: 4}, config: "milter_protocol = 4"},
		{name: "own macros", first: miltertest.Script{Macros: num(2) + "{client_name},{client_ptr} i\x00" + num(9) + "x\x00" + num(5) + "{auth_type} {mail_addr} i\x00"}},
		{name: "macro defaults", config: "milter_macro_defaults = {mail_x=1, {y}=two words}, z=3\nmilter_mail_macros = {mail_x}, y, {z}, {none} v {daemon_name}"},
		{name: "rejected recipients", first: miltertest.Script{Steps: 1 << 11}, say: "EHLO c|MAIL FROM:<a@b.example>|RCPT TO:<nobody@example.com>|RCPT TO:<x@elsewhere.example>|RCPT TO:<\"a b\"@example.com>|RCPT TO:<alice@example.com> NOTIFY=NEVER|RSET|QUIT"},
		{name: "unknown command", say: "EHLO c|FOO bar|QUIT", first: miltertest.Script{Answers: answers{'U': {"y502 5.5.1 no foo\x00"}}}},
		{name: "RSET and again", say: "EHLO c|MAIL FROM:<>|RSET|MAIL FROM:<x@y.example> BODY=8BITMIME|EHLO d|QUIT"},
		{name: "all refused", say: "EHLO c|VRFY alice@example.com|ETRN example.com|STARTTLS|MAIL FROM:<a@b.example>|QUIT", first: miltertest.Script{Answers: answers{'C': {"r"}}}},
		{name: "all put off", say: "EHLO c|VRFY alice@example.com|ETRN example.com|STARTTLS|MAIL FROM:<a@b.example>|QUIT", first: miltertest.Script{Answers: answers{'H': {"t"}}}},
		{name: "VRFY and HELO", say: "HELO c|VRFY alice@example.com|QUIT"},
		{name: "several lines", first: miltertest.Script{Answers: answers{'M': {"y550-5.7.1 one\r\n550 5.7.1 two 100%%\x00"}}}},
		{name: "malformed reply", first: miltertest.Script{Answers: answers{'M': {"y250 2.0.0 fine\x00"}}}},
		{name: "other class", first: miltertest.Script{Answers: answers{'M': {"y550 4.7.1 odd\x00"}}}},
		{name: "421 from a milter", first: miltertest.Script{Answers: answers{'M': {"y421 4.7.0 go away\x00"}}}},
		{name: "unknown answer", first: miltertest.Script{Answers: answers{'M': {"Z"}}}},
		{name: "change too early", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'M': {"hX-New\x00v\x00", "c"}}}},
		{name: "data behind an answer", first: miltertest.Script{Answers: answers{'M': {"cx"}}}},
		{name: "newer version", first: miltertest.Script{Version: 7}},
		{name: "unknown actions", first: miltertest.Script{Actions: 1 << 20}},
		{name: "two", second: &miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-Second\x002\x00", "c"}}},
			first:  miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-First\x001\x00", "bnew body\r\n", "c"}}},
			config: "smtpd_milters = inet:MILTER, { inet:MILTER2, connect_timeout=5s, default_action=accept }"},
		{name: "two, the first accepts", second: &miltertest.Script{}, first: miltertest.Script{Answers: answers{'M': {"a"}}}, config: "smtpd_milters = inet:MILTER inet:MILTER2"},
		{name: "two, the first refuses", second: &miltertest.Script{}, first: miltertest.Script{Answers: answers{'R': {"r"}}}, config: "smtpd_milters = inet:MILTER inet:MILTER2"},
		{name: "by address", config: "smtpd_milters = inet:127.0.0.1:1\nsmtpd_milter_maps = inline:{{127.0.0.1=inet:MILTER}}"},
		{name: "disabled", config: "smtpd_milter_maps = inline:{{127.0.0.1=DISABLE}}"},
		{name: "no_milters", config: "receive_override_options = no_milters"},
		{name: "soft_bounce", config: "soft_bounce = yes", first: miltertest.Script{Answers: answers{'M': {"y550 5.7.1 no\x00"}}}},
		{name: "nobody there", config: "smtpd_milters = inet:127.0.0.1:1"},
		{name: "nobody there, quarantine", config: "smtpd_milters = { inet:127.0.0.1:1, default_action=quarantine }"},
		{name: "bad endpoint", config: "smtpd_milters = foo:bar"},
		{name: "bad protocol", config: "milter_protocol = 6 5"},
		{name: "bad action", config: "milter_default_action = nonsense", first: miltertest.Script{Answers: answers{'M': {miltertest.Hangup}}}},
		{name: "checks of added headers", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {
			"hX-Warn\x00v\x00", "hX-Ignore\x00v\x00", "hX-Replace\x00v\x00", "hX-Hold\x00v\x00", "hX-Info\x00v\x00", "c"}}}},
	}
	for _, stage := range "CHMRTLNBE" {
		for what, reply := range map[string]miltertest.Packet{
			"rejects": "r", "fails": "t", "accepts": "a", "discards": "d", "says 550": "y550 5.7.9 my words\x00", "says 451": "y451 4.7.1 later\x00", "shuts down": "4",
		} {
			if what == "shuts down" && strings.ContainsRune("CHLNBE", stage) {
				continue // below, with another dialogue; at content Postfix takes the message and throws it away
			}
			cases = append(cases, milterCase{name: fmt.Sprintf("%c %s", stage, what), first: miltertest.Script{Answers: answers{byte(stage): {reply}}}})
		}
		for what, fault := range map[string]miltertest.Packet{"dies": miltertest.Hangup, "babbles": miltertest.Garbage} {
			action := [...]string{"accept", "reject", "tempfail", "quarantine"}[(int(stage)+len(what))%4]
			cases = append(cases, milterCase{name: fmt.Sprintf("%c %s, %s", stage, what, action), first: miltertest.Script{Answers: answers{byte(stage): {fault}}},
				config: "milter_default_action = " + action})
		}
	}
	cases = append(cases, filteredCases()...)
	cases = append(cases,
		milterCase{name: "hangs at MAIL", first: miltertest.Script{Answers: answers{'M': {miltertest.Hang}}}, config: "milter_command_timeout = 1s"},
		milterCase{name: "hangs at the end", first: miltertest.Script{Answers: answers{'E': {miltertest.Hang}}}, config: "milter_content_timeout = 1s"},
		milterCase{name: "cut within a change", otherWords: true, first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-New\x00v\x00", miltertest.Cut}}}},
		milterCase{name: "dies at the negotiation", first: miltertest.Script{Answers: answers{'O': {miltertest.Hangup}}}},
		milterCase{name: "shuts down at connection", first: miltertest.Script{Answers: answers{'C': {"4"}}}, say: "QUIT"},
		milterCase{name: "shuts down at HELO", first: miltertest.Script{Answers: answers{'H': {"4"}}}, say: "EHLO c|QUIT"},
		// These come last: Postfix takes the same verdict on later mail for its own, and drops it.
		milterCase{name: "checks refuse an added header", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-Reject\x00v\x00", "hX-Warn\x00v\x00", "c"}}}},
		milterCase{name: "checks throw it away", first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"hX-Discard\x00v\x00", "hX-Warn\x00v\x00", "c"}}}},
	)
	return cases
}

// filteredCases are milters that hold or throw away mail for a filter after the queue, and before it.
func filteredCases() (cases []milterCase) {
	for where, config := range map[string]string{
		"content_filter": "content_filter = smtp:[127.0.0.1]:1", "smtpd_proxy_filter": "smtpd_proxy_filter = PROXY",
		"FILTER": "smtpd_sender_restrictions = check_sender_access inline:{{a@b.example=FILTER smtp:[127.0.0.1]:1}}",
	} {
		for _, stage := range "MRTE" {
			cases = append(cases, milterCase{name: fmt.Sprintf("%c discards, %s", stage, where), config: config, first: miltertest.Script{Answers: answers{byte(stage): {"d"}}}})
		}
		cases = append(cases,
			milterCase{name: "no relaying for what is thrown away, " + where, config: config, first: miltertest.Script{Answers: answers{'M': {"d"}}},
				say: "EHLO c|MAIL FROM:<a@b.example>|RCPT TO:<x@elsewhere.example>|RCPT TO:<nobody@example.com>|QUIT"},
			milterCase{name: "quarantine, " + where, config: config, first: miltertest.Script{Actions: 0x1ff, Answers: answers{'E': {"qreason\x00", "c"}}}},
			milterCase{name: "dies, quarantine, " + where, config: config + "\nmilter_default_action = quarantine", first: miltertest.Script{Answers: answers{'R': {miltertest.Hangup}}}})
	}
	return cases
}

// milterChecks are those of added headers, for all cases. The postmaster is not told of errors.
const milterChecks = "notify_classes =\nmilter_header_checks = regexp:{{/^X-Warn:/ WARN watch out},{/^X-Ignore:/ IGNORE},{/^X-Replace:/ REPLACE X-Replaced: by me},{/^X-Hold:/ HOLD}," +
	"{/^X-Info:/ INFO look},{/^X-Reject:/ REJECT no such header},{/^X-Discard:/ DISCARD away}}\n"

// milterOutcome is all that is seen of a case.
type milterOutcome struct {
	Dialogue []string
	Log      []string
	Seen     [2][]string
	Message  string
	Sender   string
	Rcpts    []string
	Held     bool
	Passed   []string // envelopes of what went to the filter before the queue
}

// playMilter runs the client's side of a case.
func (c *milterCase) play(t *testing.T, addr string) []string {
	t.Helper()
	say := c.say
	if say == "" {
		say = usualMail + usualText + "|QUIT"
	}
	conn := dial(t, addr)
	defer conn.Close()
	out := []string{replyOf(conn)}
	for command := range strings.SplitSeq(say, "|") {
		if strings.Contains(command, "\n") && !strings.HasPrefix(out[len(out)-1], "354") {
			continue // there is no content without DATA
		}
		fmt.Fprintf(conn, "%s\r\n", strings.ReplaceAll(command, "\n", "\r\n"))
		out = append(out, replyOf(conn))
		if strings.HasPrefix(out[len(out)-1], "421") || out[len(out)-1] == "" {
			break
		}
	}
	for i := range out {
		out[i] = normalize(out[i])
	}
	return out
}

// replyOf reads a reply of any number of lines.
func replyOf(conn interface{ Read([]byte) (int, error) }) string {
	var out []byte
	b := make([]byte, 1)
	for start := 0; ; {
		if n, err := conn.Read(b); n == 0 || err != nil {
			return string(out)
		}
		out = append(out, b[0])
		if b[0] == '\n' {
			if len(out)-start > 3 && out[start+3] == ' ' {
				return string(out)
			}
			start = len(out)
		}
	}
}

// milterServers are the servers of a case.
type milterServers struct {
	milters [2]*miltertest.Server
	proxy   *harness.NextHop // smtpd_proxy_filter
}

// passed is what went to the filter before the queue.
func (s *milterServers) passed() (all []string) {
	if s.proxy == nil {
		return nil
	}
	for _, l := range s.proxy.Letters() {
		all = append(all, l.From+" "+strings.Join(l.To, " "))
	}
	return all
}

func (c *milterCase) start(t *testing.T) (config string, servers milterServers) {
	t.Helper()
	config = c.config
	if strings.Contains(config, "PROXY") {
		servers.proxy = harness.StartNextHop(t, new(harness.NextHop))
		config = strings.ReplaceAll(config, "PROXY", servers.proxy.Addr)
	}
	for i, script := range []*miltertest.Script{&c.first, c.second} {
		if script == nil {
			continue
		}
		m, err := miltertest.Start(*script)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		servers.milters[i] = m
	}
	if !strings.Contains(config, "smtpd_milters") {
		config += "\nsmtpd_milters = inet:MILTER"
	}
	if servers.milters[1] != nil {
		config = strings.ReplaceAll(config, "MILTER2", servers.milters[1].Addr)
	}
	return strings.ReplaceAll(config, "MILTER", servers.milters[0].Addr), servers
}

var (
	milterPorts = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	// milterNumbers are those that differ: the largest packet here is smaller, and Postfix
	// tells of too much data with the length of another packet.
	milterNumbers = regexp.MustCompile(`(packet length:|was followed by) \S+( > \S+)?`)
)

// seen is what the milters heard.
func (s *milterServers) seen() (out [2][]string) {
	for i, m := range s.milters {
		if m != nil {
			out[i] = heard(m)
		}
	}
	return out
}

func heard(m *miltertest.Server) (lines []string) {
	for _, line := range m.Seen() {
		lines = append(lines, normalize(connectPort.ReplaceAllString(line, "$1")))
	}
	return lines
}

// connectPort is the client's port in what a milter hears of the connection.
var connectPort = regexp.MustCompile(`(?s)^(C .*\|4).*(127\.0\.0\.1)$`)

func logLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, "message-id=") {
			continue
		}
		lines = append(lines, milterNumbers.ReplaceAllString(milterPorts.ReplaceAllString(normalize(strings.TrimSuffix(line, "\n")), "HOST:PORT"), "$1 N"))
	}
	return lines
}

// ours runs a case against this server.
func (c *milterCase) ours(t *testing.T) milterOutcome {
	config, servers := c.start(t)
	ts := startServer(t, config+"\n"+milterChecks, nil)
	o := milterOutcome{Dialogue: c.play(t, ts.addr)}
	ts.stop()
	o.Log, o.Seen, o.Passed = logLines(ts.log.lines(t)), servers.seen(), servers.passed()
	if n := len(ts.queue.messages); n > 0 {
		m := ts.queue.messages[n-1]
		o.Message, o.Sender, o.Held = normalize(strings.ReplaceAll(m.body.String(), "\r\n", "\n")), m.env.Sender, m.env.Hold
		for _, r := range m.env.Recipients {
			o.Rcpts = append(o.Rcpts, r.Address)
		}
	}
	return o
}

// TestMilterShutdown has a milter close the session at each step of the content: the client
// learns that the message was not taken.
func TestMilterShutdown(t *testing.T) {
	for _, stage := range "LNBE" {
		c := milterCase{first: miltertest.Script{Answers: answers{byte(stage): {"4"}}}}
		o := c.ours(t)
		if last := o.Dialogue[len(o.Dialogue)-1]; last != "421 4.7.0 Server closing connection\r\n" || o.Message != "" {
			t.Errorf("%c: the last reply is %q; queued: %q", stage, last, o.Message)
		}
	}
}

func TestMilterLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	cases := milterCases()
	var dialogues []dialogue
	servers := make([]milterServers, len(cases))
	for i := range cases {
		var d dialogue
		d.config, servers[i] = cases[i].start(t)
		dialogues = append(dialogues, d)
	}
	p := startPostfixWith(t, dialogues, milterChecks)
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			from := len(p.Log())
			want := milterOutcome{Dialogue: c.play(t, p.addrs[i])}
			log := p.awaitLog(t, from, fmt.Sprintf(" dialogue%d/smtpd[", i))
			want.Log, want.Seen, want.Passed = logLines(log), servers[i].seen(), servers[i].passed()
			for _, line := range want.Dialogue {
				if strings.Contains(line, "queued as") && servers[i].proxy == nil {
					p.queued(t, &want)
				}
			}
			got := c.ours(t)
			if c.otherWords {
				want.Log, got.Log = nil, nil
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-Postfix +this server):\n%s", diff)
			}
		})
	}
}

// startPostfixWith is startPostfix with parameters for all services.
func startPostfixWith(t *testing.T, all []dialogue, main string) *realPostfix {
	t.Helper()
	p := new(realPostfix)
	services := ""
	all = append(all[:len(all):len(all)], dialogue{}) // for await
	for i, d := range all {
		p.addrs = append(p.addrs, fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
		services += fmt.Sprintf("%s inet n - n - - smtpd -o syslog_name=dialogue%d\n", p.addrs[i], i)
		for _, line := range strings.Split(strings.TrimSpace(d.config), "\n") {
			if line != "" {
				services += "  -o { " + line + " }\n"
			}
		}
	}
	p.Postfix = harness.StartPostfix(t, map[string]string{"main.cf": baseConfig + realConfig + main, "master.cf": services})
	p.await(t)
	return p
}

// awaitLog returns what smtpd and cleanup log behind an offset, up to the end of the session of
// a service.
func (p *realPostfix) awaitLog(t *testing.T, from int, tag string) string {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var out strings.Builder
		over := false
		for line := range strings.Lines(p.Log()[from:]) {
			if !strings.Contains(line, tag) && !strings.Contains(line, "/cleanup[") {
				continue
			}
			_, text, _ := strings.Cut(line, "]: ")
			out.WriteString(text)
			over = over || strings.HasPrefix(text, "disconnect from") && strings.HasSuffix(text, "\n")
		}
		if over {
			return out.String()
		}
		if time.Now().After(deadline) {
			t.Fatalf("no end of the session in the log:\n%s", p.Log()[from:])
		}
	}
}

// moves is how often the queue is looked at before nothing is in it: a message may be on its way from one
// directory to the next.
const moves = 20

var queueEntry = regexp.MustCompile(`"queue_name": "(\w+)", "queue_id": "(\w+)"`)

// queued tells of the one message in the queue, and empties that. Nothing where it was thrown away.
func (p *realPostfix) queued(t *testing.T, o *milterOutcome) {
	t.Helper()
	var m [][]byte
	for try := 0; m == nil && try < moves; try++ {
		list, err := exec.Command("postqueue", "-c", p.Config(), "-j").Output()
		if err != nil {
			t.Fatalf("postqueue: %v", err)
		}
		m = queueEntry.FindSubmatch(list)
	}
	if m == nil {
		return
	}
	o.Held = string(m[1]) == "hold"
	id := string(m[2])
	var out []byte
	harness.Eventually(t, "message "+id, func() bool { // which may be on its way from one queue to another
		text, err := exec.Command("postcat", "-c", p.Config(), "-bhq", id).Output()
		o.Message = normalize(string(text))
		if err == nil {
			out, err = exec.Command("postcat", "-c", p.Config(), "-eq", id).Output()
		}
		return err == nil && len(text) > 0 && strings.Contains(string(out), "sender: ")
	})
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "sender":
			o.Sender = value
		case "recipient":
			o.Rcpts = append(o.Rcpts, value)
		}
	}
	if out, err := exec.Command("postsuper", "-c", p.Config(), "-d", "ALL").CombinedOutput(); err != nil {
		t.Fatalf("postsuper: %v\n%s", err, out)
	}
}

package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A player plays one script.
type player struct {
	t    *testing.T
	mb   *harness.Mailbox
	name string
	out  strings.Builder

	c      *harness.Client // the session; nil for none
	pop3   bool
	logged int // lines of the log that were shown
}

// verbs are the words that begin a line of a script. Any other line is a command for the session.
var verbs = map[string]func(p *player, args string){
	"imap":    (*player).imap,    // log in to IMAP; a session before stays
	"pop3":    (*player).pop,     // log in to POP3
	"refused": (*player).refused, // show how a POP3 login fails
	"quit":    (*player).quit,    // log out, and wait until the session is over
	"append":  (*player).append,  // MAILBOX FLAGS SUBJECT: save a message by APPEND; \n in SUBJECT begins another header line
	"deliver": (*player).deliver, // DETAIL SUBJECT: deliver a message by LMTP, to the mailbox DETAIL or, for "-", without
	"until":   (*player).until,   // TEXT | COMMAND: wait until a new session answers the IMAP command with a line that has the text
	"wait":    (*player).wait,    // TEXT: wait until the log has a line about the user with the text
	"sorted":  (*player).sorted,  // COMMAND: show the answer in the order of its lines
	"names":   (*player).names,   // show what is below the user's directory mail, but no files of mailboxes
	"log":     (*player).log,     // show what was logged about the user since, but not logins and disconnects; after a session
	"stats":   (*player).stats,   // show how the last session ended
	"cat":     (*player).cat,     // show a file below the user's home
	"filled":  (*player).filled,  // wait until a file below the user's home has something, and show it
	"mark":    (*player).mark,    // make a file below the user's home empty
	"hold":    (*player).hold,    // make a lock file below the user's home as another program does
}

// play returns a script's lines, each with what it led to.
func play(t *testing.T, mb *harness.Mailbox, name, text string) string {
	p := &player{t: t, mb: mb, name: name}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		fmt.Fprintf(&p.out, "> %s\n", line)
		word, args, _ := strings.Cut(line, " ")
		if do := verbs[word]; do != nil {
			do(p, args)
		} else {
			p.command(line)
		}
	}
	if p.c != nil {
		p.quit("")
	}
	return p.out.String()
}

// show writes lines of which nothing differs from run to run.
func (p *player) show(lines ...string) {
	for _, line := range lines {
		if onlyOurs.MatchString(line) {
			continue
		}
		for _, v := range varying {
			line = v.re.ReplaceAllString(line, v.with)
		}
		p.out.WriteString(strings.ReplaceAll(strings.TrimRight(line, "\r\n"), "\r\n", "\n") + "\n")
	}
}

// onlyOurs are lines of extensions that Dovecot 2.3 has not, and what depends on who has seen a message.
var onlyOurs = regexp.MustCompile(`^\* OK (\[MAILBOXID .*\] )?Ok$|^\* \d+ RECENT$`)

var varying = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`/tmp/dovetail-test-[^/]*`), "DIR"},
	{regexp.MustCompile(`(?m)^\* OK \[MAILBOXID .*\n|\[MAILBOXID [^\]]*\] `), ""}, // which only ours says
	{regexp.MustCompile(`(UIDVALIDITY|APPENDUID|COPYUID) \d+`), "$1 V"},
	{regexp.MustCompile(`\((\d+\.\d+ \+ )?[^()]* secs\)`), "(TIME)"},
	{regexp.MustCompile(`\b(in|out)=\d+`), "$1=N"},
	{regexp.MustCompile(`\b\d+\.M\d+P\d+[^ ]*`), "NAME"},
	{regexp.MustCompile(`\b\d{10}\b`), "SECONDS"},
	{regexp.MustCompile(`(?m)^\d+:[a-z0-9.-]+$`), "PID:HOST"},
	{regexp.MustCompile(`\b\d{13}\b`), "MILLISECONDS"},
	{regexp.MustCompile(`\b\d{16}\b`), "MICROSECONDS"},
	{regexp.MustCompile(`\b\d{16}000\b`), "NANOSECONDS"},
	{regexp.MustCompile(`[0-9a-f]{32}`), "GUID"},
	{regexp.MustCompile(`\bV\d+\b`), "VALIDITY"},
	{regexp.MustCompile(` \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]`), " [TIME]"},
}

func (p *player) imap(string) {
	p.c, p.pop3 = harness.Connect(p.t, p.mb.IMAP), false
	p.c.Must(p.t, "LOGIN "+address(p.name)+" "+harness.Password)
}

func (p *player) pop(string) {
	p.c, p.pop3 = harness.Connect(p.t, p.mb.POP3), true
	p.c.Expect(p.t, "USER "+address(p.name), "+OK")
	p.c.Expect(p.t, "PASS "+harness.Password, "+OK")
}

func (p *player) refused(string) {
	c := harness.Connect(p.t, p.mb.POP3)
	defer c.Close()
	c.Expect(p.t, "USER "+address(p.name), "+OK")
	reply, err := c.Ask("PASS " + harness.Password)
	if err != nil {
		p.t.Fatal(err)
	}
	p.show(reply)
}

func (p *player) command(line string) {
	if p.c == nil {
		p.t.Fatalf("%s: there is no session", line)
	}
	if p.pop3 {
		p.pop3Command(line)
		return
	}
	untagged, ok, err := p.c.IMAP(line)
	p.show(untagged...)
	if err != nil {
		ok = err.Error()
	} else {
		ok = "OK " + ok
	}
	p.show(ok)
}

// pop3Command reads the lines of an answer that has more than one.
func (p *player) pop3Command(line string) {
	reply, err := p.c.Ask(line)
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	p.show(reply)
	many := slices.Contains([]string{"LIST", "UIDL", "CAPA"}, line) || strings.HasPrefix(line, "RETR") || strings.HasPrefix(line, "TOP")
	for many && strings.HasPrefix(reply, "+OK") {
		more, err := p.c.Line()
		if err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		if p.show(more); more == "." {
			break
		}
	}
}

func (p *player) quit(string) {
	ended := len(p.lines(isEnd))
	command := "LOGOUT"
	if p.pop3 {
		command = "QUIT"
	}
	p.command(command)
	p.c.Close()
	p.c = nil
	harness.Eventually(p.t, "the end of the session in the log", func() bool { return len(p.lines(isEnd)) > ended })
}

func (p *player) append(args string) {
	box, rest, _ := strings.Cut(args, " ")
	flags, subject, _ := strings.Cut(rest, ") ")
	message := "Subject: " + strings.ReplaceAll(subject, `\n`, "\r\n") + "\r\n\r\nbody\r\n"
	p.command(fmt.Sprintf("APPEND %s %s) {%d+}\r\n%s", box, flags, len(message), message))
}

func (p *player) deliver(args string) {
	detail, subject, _ := strings.Cut(args, " ")
	to := address(p.name)
	if detail != "-" {
		to = p.name + "+" + detail + "@" + harness.Domain
	}
	c := harness.Connect(p.t, p.mb.LMTP)
	defer c.Close()
	c.Expect(p.t, "LHLO test", "250")
	c.Expect(p.t, "MAIL FROM:<sender@example.test>", "250")
	reply, err := c.Ask("RCPT TO:<" + to + ">")
	if err != nil {
		p.t.Fatal(err)
	}
	if !strings.HasPrefix(reply, "250") {
		p.show(reply)
		return
	}
	c.Expect(p.t, "DATA", "354")
	told := len(p.lines(isDelivery))
	reply, err = c.Ask("Subject: " + subject + "\r\n\r\nbody\r\n.")
	if err != nil {
		p.t.Fatal(err)
	}
	p.show(queueID.ReplaceAllString(reply, "ID Saved"))
	harness.Eventually(p.t, "the delivery in the log", func() bool { return len(p.lines(isDelivery)) > told })
}

func isDelivery(text string) bool {
	return strings.Contains(text, "saved mail to ") || strings.Contains(text, "save failed to ")
}

var queueID = regexp.MustCompile(`\S+ Saved`)

func (p *player) until(args string) {
	text, command, _ := strings.Cut(args, " | ")
	harness.Eventually(p.t, args, func() bool {
		c := harness.Connect(p.t, p.mb.IMAP)
		defer c.Close()
		c.Must(p.t, "LOGIN "+address(p.name)+" "+harness.Password)
		untagged, _, _ := c.IMAP(command)
		c.Must(p.t, "LOGOUT")
		return slices.ContainsFunc(untagged, func(line string) bool { return strings.Contains(line, text) })
	})
}

func (p *player) wait(text string) {
	harness.Eventually(p.t, text+" in the log", func() bool {
		return slices.ContainsFunc(p.lines(func(string) bool { return true }), func(line string) bool { return strings.Contains(line, text) })
	})
}

// lines returns the lines of the log that are about the user and are wanted.
func (p *player) lines(wanted func(text string) bool) (lines []string) {
	log, err := os.ReadFile(p.mb.Log)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		i := strings.Index(line, "("+address(p.name)+")")
		if i < 0 {
			continue
		}
		service := line[strings.LastIndexByte(line[:i], ' ')+1 : i]
		if _, text, ok := strings.Cut(line[i:], ">: "); ok && service != "auth" && wanted(text) {
			lines = append(lines, service+": "+text)
		}
	}
	return lines
}

func isEnd(text string) bool { return strings.Contains(text, "Disconnected: ") }

func (p *player) log(string) {
	lines := p.lines(func(text string) bool { return !isEnd(text) && !strings.Contains(text, "saved mail to ") })
	p.show(lines[p.logged:]...)
	p.logged = len(lines)
}

func (p *player) stats(string) {
	if lines := p.lines(isEnd); len(lines) > 0 {
		p.show(lines[len(lines)-1])
	}
}

func (p *player) cat(path string) {
	text, err := os.ReadFile(filepath.Join(p.mb.Mail, p.name, path))
	if err != nil {
		p.show(err.Error())
		return
	}
	p.show(string(text))
}

func (p *player) filled(path string) {
	harness.Eventually(p.t, path+" with content", func() bool {
		st, err := os.Stat(filepath.Join(p.mb.Mail, p.name, path))
		return err == nil && st.Size() > 0
	})
	p.cat(path)
}

func (p *player) mark(path string) { p.write(path, "") }

func (p *player) hold(path string) {
	host, err := os.Hostname()
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(path, fmt.Sprintf("%d:%s\n", os.Getpid(), host))
}

func (p *player) write(path, text string) {
	path = filepath.Join(p.mb.Mail, p.name, path)
	harness.Write(p.t, path, text)
	if err := os.Chown(path, mailUID, mailUID); err != nil {
		p.t.Fatal(err)
	}
}

func (p *player) sorted(command string) {
	untagged, status, err := p.c.IMAP(command)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range untagged {
		untagged[i] = strings.NewReplacer(" \\Marked", "", " \\UnMarked", "").Replace(untagged[i])
	}
	slices.Sort(untagged)
	p.show(untagged...)
	p.show(status)
}

func (p *player) names(string) {
	root := filepath.Join(p.mb.Mail, p.name, "mail")
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		switch {
		case slices.Contains([]string{"cur", "new", "tmp", ".imap", ".dovetail-journal", "mailbox", "maildirfolder"}, name), strings.HasPrefix(name, "dovecot"), strings.HasPrefix(name, "u."), strings.HasPrefix(name, "..DOVECOT"):
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		rel, _ := filepath.Rel(root, path)
		p.show(rel)
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

package imap

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestObjectID checks that identifiers (RFC 8474) are told alike everywhere, and say what is the same.
func TestObjectID(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			srv := newTestServer(t, map[string]string{"mail_location": format + ":" + t.TempDir()})
			c := &objectIDClient{T: t}
			c.client(srv)
			c.mailboxes()
			c.messages()
		})
	}
}

// objectIDClient reads answers as they are: those of other tests are without MAILBOXID.
type objectIDClient struct {
	*testing.T
	r *bufio.Reader
	w func(string)
	n int
}

func (c *objectIDClient) client(srv *testServer) {
	conn, _ := srv.serve(c.T)
	c.r = bufio.NewReader(conn)
	c.w = func(text string) { fmt.Fprint(conn, text) }
	c.until("* PREAUTH")
}

func (c *objectIDClient) until(begin string) string {
	c.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.Fatalf("after %q: %v", all.String(), err)
		}
		all.WriteString(line)
		if strings.HasPrefix(line, begin) {
			return all.String()
		}
	}
}

// say says a command and returns the answer, which has to be OK.
func (c *objectIDClient) say(command string) string {
	c.Helper()
	c.n++
	tag := fmt.Sprintf("a%d ", c.n)
	c.w(tag + command + "\r\n")
	got := c.until(tag)
	if !strings.Contains(got, tag+"OK ") {
		c.Fatalf("%s: %s", command, got)
	}
	return got
}

// find returns what the groups of pattern match in the answer to a command.
func (c *objectIDClient) find(command, pattern string) []string {
	c.Helper()
	got := c.say(command)
	m := regexp.MustCompile(pattern).FindStringSubmatch(got)
	if m == nil {
		c.Fatalf("%s: %q does not match %s", command, got, pattern)
	}
	return m[1:]
}

func (c *objectIDClient) mailboxes() {
	c.Helper()
	const id = `\((F[0-9a-f]{32})\)`
	created := c.find("CREATE box", `OK \[MAILBOXID `+id+`\] Create completed`)[0]
	for _, same := range [][2]string{
		{"STATUS box (MESSAGES MAILBOXID)", `\* STATUS box \(MESSAGES 0 MAILBOXID ` + id + `\)`},
		{"STATUS box (MAILBOXID)", `\* STATUS box \(MAILBOXID ` + id + `\)`},
		{`LIST "" box RETURN (STATUS (MAILBOXID))`, `\* STATUS box \(MAILBOXID ` + id + `\)`},
		{"SELECT box", `\* OK \[MAILBOXID ` + id + `\]`},
		{"EXAMINE box", `\* OK \[MAILBOXID ` + id + `\]`},
	} {
		if got := c.find(same[0], same[1])[0]; got != created {
			c.Errorf("%s: %s, created as %s", same[0], got, created)
		}
	}
	c.say("UNSELECT")
	c.say("RENAME box other")
	if got := c.find("STATUS other (MAILBOXID)", id)[0]; got != created {
		c.Errorf("%s after RENAME, was %s", got, created)
	}
	if again := c.find("CREATE box", `\[MAILBOXID `+id)[0]; again == created {
		c.Error("another mailbox got the same id")
	}
}

func (c *objectIDClient) messages() {
	c.Helper()
	for _, header := range []string{
		"Message-ID: <root@x>\r\n",
		"Message-ID: <2@x>\r\nIn-Reply-To: <root@x>\r\n",
		"Message-ID: <3@x>\r\nReferences: <root@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n",
		"Message-ID: <root@y>\r\n",
		"Subject: none\r\n",
		"Subject: none\r\n",
	} {
		text := header + "\r\nbody\r\n"
		c.say(fmt.Sprintf("APPEND box {%d+}\r\n%s", len(text), text))
	}
	c.say("SELECT box")
	var emails, threads []string
	for i := 1; i <= 6; i++ {
		ids := c.find(fmt.Sprintf("FETCH %d (EMAILID THREADID)", i), `FETCH \(EMAILID \((M[0-9a-f]{32})\) THREADID \((T[0-9a-f]{32})\)\)`)
		emails, threads = append(emails, ids[0]), append(threads, ids[1])
	}
	for i := range emails {
		if got := c.find("SEARCH EMAILID "+emails[i], `\* SEARCH(.*)\r\n`)[0]; got != fmt.Sprint(" ", i+1) {
			c.Errorf("EMAILID of %d found%s", i+1, got)
		}
	}
	for i, want := range []string{" 1 2 3", " 1 2 3", " 1 2 3", " 4", " 5", " 6"} {
		if got := c.find("SEARCH THREADID "+threads[i], `\* SEARCH(.*)\r\n`)[0]; got != want {
			c.Errorf("THREADID of %d found%s, want%s", i+1, got, want)
		}
	}
	if got := c.find("SEARCH NOT EMAILID "+emails[0]+" THREADID "+threads[0], `\* SEARCH(.*)\r\n`)[0]; got != " 2 3" {
		c.Errorf("found%s", got)
	}
	c.say("COPY 1 other")
	c.say("SELECT other")
	if got := c.find("FETCH 1 EMAILID", `\((M.*?)\)`)[0]; got != emails[0] {
		c.Errorf("%s of a copy, %s of the original", got, emails[0])
	}
}

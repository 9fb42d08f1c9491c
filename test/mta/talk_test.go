package mta

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// talk [-client IP] [-submission] COMMAND...: says each command and shows the replies, after
// the greeting. STARTTLS is followed by the handshake; PLAIN USER and LOGIN USER are the whole
// of AUTH; @FILE is content, up to its dot. After the server's goodbye the rest is not said.
func (pl *player) cmdTalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("takes no !")
	}
	client, addr := "127.0.0.1", pl.SMTP
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-client":
			client, args = args[1], args[2:]
		case "-submission":
			addr, args = pl.Submission, args[1:]
		default:
			ts.Fatalf("unknown option %s", args[0])
		}
	}
	conn := dialFrom(pl.t, client, addr)
	defer conn.Close()
	c := conn
	fmt.Fprintln(ts.Stdout(), c.Greeting)
	if strings.HasPrefix(c.Greeting, "421") {
		return
	}
	for _, step := range args {
		if c = pl.say(ts, c, step); c == nil {
			return
		}
	}
}

// say is one step of talk. It returns the connection to go on with, nil after its end.
func (pl *player) say(ts *testscript.TestScript, c *harness.Client, step string) *harness.Client {
	mechanism, user, _ := strings.Cut(step, " ")
	lines := []string{step}
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	switch {
	case strings.HasPrefix(step, "@"):
		text := strings.ReplaceAll(ts.ReadFile(step[1:]), "\n", "\r\n")
		lines = []string{"DATA", text + "."}
	case mechanism == "PLAIN":
		lines = []string{"AUTH PLAIN " + encode("\x00"+user+"\x00"+harness.Password)}
	case mechanism == "LOGIN":
		lines = []string{"AUTH LOGIN", encode(user), encode(harness.Password)}
	}
	for _, line := range lines {
		reply, err := c.Ask(line)
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), reply)
		switch {
		case strings.HasPrefix(reply, "421") || strings.HasPrefix(reply, "221"):
			return nil
		case step == "STARTTLS" && reply[0] == '2':
			return c.StartTLS()
		case reply[0] >= '4':
			return c
		}
	}
	return c
}

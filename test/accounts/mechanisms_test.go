package accounts

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/sasl"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestMechanisms plays the scenarios in testdata/mechanisms and compares every challenge,
// every answer and what is logged. Requests are, beside those of [TestSameAnswers]:
//
//	MECHANISM USER / PASSWORD          a login with a client that knows the mechanism
//	RAW MECHANISM "MESSAGE" "MESSAGE"  what a client says, whatever the server does
//
// A scenario with what both were recorded to say is not played to Dovecot again: its auth process uses
// requests for one-time passwords that it has freed, and mostly dies of it.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/mechanisms/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			port := ""
			if strings.Contains(string(archive.Files[1].Data), "pgsql") {
				port = fmt.Sprint(harness.StartPostgreSQL(t, onetimeUsers).Port)
			}
			here := strings.NewReplacer("@POSTGRES@", port)
			var theirs []string
			if last := archive.Files[len(archive.Files)-1]; last.Name == "recorded" {
				theirs = strings.Split(strings.TrimSuffix(string(last.Data), "\n"), "\n")
			} else {
				theirs = playMechanisms(t, harness.Original, archive, here)
			}
			ours := playMechanisms(t, harness.Dovetail, archive, here)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

// onetimeUsers makes a table of users of one-time passwords, which the server changes.
const onetimeUsers = `CREATE TABLE onetime (username TEXT, password TEXT);
GRANT UPDATE ON onetime TO dovecot;
INSERT INTO onetime VALUES ('otp', '{OTP}sha1 1023 5d1b3f1f1f6e5a9c f06d1d1e4d1a3ff2');
INSERT INTO onetime VALUES ('example', '{OTP}md5 99 test 50fe1962c4965880');
INSERT INTO onetime VALUES ('last', '{OTP}md5 1 test 50fe1962c4965880');
INSERT INTO onetime VALUES ('broken', '{OTP}md7 99 test 50fe1962c4965880');
INSERT INTO onetime VALUES ('plain', 'secret');
INSERT INTO onetime VALUES ('hashed', '{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=');
`

// playMechanisms returns what a program says and logs.
func playMechanisms(t *testing.T, program harness.Program, archive *txtar.Archive, here *strings.Replacer) (said []string) {
	t.Helper()
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	for name := range files {
		files[name] = here.Replace(files[name])
	}
	r := start(t, program, files)
	client := dialAuth(t, r.socket("auth-client"), "VERSION\t1\t2\nCPID\t4242\n", "DONE")
	for i, line := range strings.Split(strings.TrimSuffix(files["requests"], "\n"), "\n") {
		said = append(said, line)
		said = append(said, speak(t, client, i+1, line)...)
	}
	r.Stop()
	for _, line := range authLines(t, r.dir) {
		said = append(said, random.ReplaceAllString(line, "${1}VARIES"))
	}
	return said
}

// random is what is never the same in challenges.
var random = regexp.MustCompile(`(nonce="|^r=|,s=|rspauth=|^v=|resp=|otp-sha1 102[0-9] )[^,]*`)

// speak puts one request and returns the challenges and the answer.
func speak(t *testing.T, c *authConn, id int, line string) (said []string) {
	t.Helper()
	mechanism, rest, _ := strings.Cut(line, " ")
	var messages []string // that follow, whatever the server says
	var client sasl.Client
	switch mechanism {
	case "RAW":
		mechanism, rest, _ = strings.Cut(rest, " ")
		for rest != "" {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			message, _ := strconv.Unquote(quoted)
			messages = append(messages, message)
			rest = strings.TrimLeft(rest[len(quoted):], " ")
		}
	case "AUTH":
		mechanism = "PLAIN"
		fallthrough
	default:
		user, password, _ := strings.Cut(rest, " / ")
		m, ok := sasl.Lookup(mechanism)
		if !ok {
			t.Fatalf("%s: unknown mechanism", line)
		}
		client = m.NewClient(sasl.Credentials{Username: user, Password: password, Hostname: "localhost", Service: "imap"})
	}
	next := func(challenge []byte) ([]byte, error) {
		if client != nil {
			return client.Next(challenge)
		}
		if len(messages) == 0 {
			return []byte{}, nil
		}
		message := messages[0]
		messages = messages[1:]
		return []byte(message), nil
	}
	options := ""
	if id%2 == 0 {
		options = "\tfinal-resp-ok"
	}
	var initial []byte
	var err error
	if client != nil {
		initial, err = client.Start()
	} else {
		initial, err = next(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if mechanism == "OTP" {
		// Dovecot takes what is behind an initial response for a part of it.
		message := initial
		after := next
		next = func(challenge []byte) ([]byte, error) {
			if message != nil {
				first := message
				message = nil
				return first, nil
			}
			return after(challenge)
		}
		initial = nil
	}
	if initial != nil {
		options += "\tresp=" + base64.StdEncoding.EncodeToString(initial)
	}
	c.put(t, fmt.Sprintf("AUTH\t%d\t%s\tservice=imap\trip=192.0.2.%d\tsession=S%d\tsecured%s", id, mechanism, id, id, options))
	for {
		answer := c.line(t)
		data, ok := strings.CutPrefix(answer, fmt.Sprintf("CONT\t%d\t", id))
		if !ok {
			return append(said, random.ReplaceAllString(answer, "${1}VARIES"))
		}
		challenge, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		said = append(said, "CONT "+random.ReplaceAllString(string(challenge), "${1}VARIES"))
		message, err := next(challenge)
		if err != nil {
			t.Fatalf("%s: %q: %v", line, challenge, err)
		}
		c.put(t, fmt.Sprintf("CONT\t%d\t%s", id, base64.StdEncoding.EncodeToString(message)))
	}
}

package imap

import (
	"bufio"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// cacheCommands ask for what is cached.
const cacheCommands = `FETCH 1:* (UID ENVELOPE)
FETCH 1:* BODYSTRUCTURE
FETCH 1:* BODY
FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Received Subject X-None To)] RFC822.SIZE INTERNALDATE)
UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (Content-Type)]<2.20>)
SEARCH HEADER Subject e
SEARCH HEADER X-None ""
SEARCH SENTSINCE 1-Jan-2000`

// A cacheTest has one server fill a mailbox and its cache, and both answer from it.
type cacheTest struct {
	home  string
	dials map[string]func(t *testing.T) (conn net.Conn, ended <-chan struct{})
	log   func() string
}

func newCacheTest(t *testing.T, settings map[string]string) *cacheTest {
	home := t.TempDir()
	set := map[string]string{"mail_location": "sdbox:" + home + "/mail"}
	for k, v := range settings {
		set[k] = v
	}
	srv := newTestServer(t, set)
	set["log_path"] = home + "/log"
	theirs := newDovecot(t, set)
	return &cacheTest{
		home: home,
		dials: map[string]func(t *testing.T) (net.Conn, <-chan struct{}){
			"ours":   func(t *testing.T) (net.Conn, <-chan struct{}) { return srv.serve(t) },
			"theirs": func(t *testing.T) (net.Conn, <-chan struct{}) { return theirs(t), nil },
		},
		log: func() string {
			b, _ := os.ReadFile(home + "/log")
			return srv.logged() + string(b)
		},
	}
}

// give lets Dovecot, which runs as another user than root, write what there is.
func (c *cacheTest) give(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	err := filepath.WalkDir(c.home, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, 65534, 65534)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// talk has a server of one of both kinds answer, without what is about time.
func (c *cacheTest) talk(t *testing.T, who string, commands ...string) string {
	t.Helper()
	c.give(t)
	conn, ended := c.dials[who](t)
	r := bufio.NewReader(conn)
	var all strings.Builder
	for i, line := range commands {
		tag := "T" + strconv.Itoa(i)
		answer := talk(t, conn, r, tag+" "+line+"\r\n", tag+" ")
		if !strings.Contains(answer, "\n"+tag+" OK") && !strings.HasPrefix(answer, tag+" OK") {
			t.Fatalf("%s: %s: %s", who, line, answer)
		}
		if strings.HasPrefix(line, "SELECT") {
			continue
		}
		all.WriteString(answer)
	}
	talk(t, conn, r, "Z LOGOUT\r\n", "end of the connection")
	conn.Close()
	if ended != nil {
		<-ended
	}
	return all.String()
}

// hide takes the message files away, so that only the cache can answer, or brings them
// back.
func (c *cacheTest) hide(t *testing.T, hide bool) {
	t.Helper()
	from, to := filepath.Join(c.home, "mail/mailboxes/INBOX/dbox-Mails"), filepath.Join(c.home, "hidden")
	if !hide {
		from, to = to, from
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(from + "/u.*")
	if len(names) == 0 {
		t.Fatal("no message files in " + from)
	}
	for _, name := range names {
		if err := os.Rename(name, filepath.Join(to, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
}

// cacheMessages returns the messages that package message is tested with, but those whose
// header has no end.
func cacheMessages(t *testing.T) (texts []string) {
	for _, name := range []string{"bodystructure.txt", "envelope.txt"} {
		b, err := os.ReadFile("../../message/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		isMessage := true
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
				continue
			}
			text, err := strconv.Unquote(line)
			if err != nil {
				t.Fatal(err)
			}
			if isMessage && headerHasEnd.MatchString(text) && !strings.Contains(text, "\x00") {
				texts = append(texts, text)
			}
			isMessage = !isMessage
		}
	}
	if len(texts) < 100 {
		t.Fatalf("only %d messages", len(texts))
	}
	return texts
}

var headerHasEnd = regexp.MustCompile(`(?s)^\r?\n|\n\r?\n`)

// TestCacheBothWays has one server save messages and cache what clients ask for. Then both
// must answer the same, without the messages' files.
func TestCacheBothWays(t *testing.T) {
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	texts := cacheMessages(t)
	commands := append([]string{"SELECT INBOX"}, strings.Split(cacheCommands, "\n")...)
	for _, writer := range []string{"theirs", "ours"} {
		for _, c := range []struct {
			name     string
			settings map[string]string
			atSave   bool // everything is cached when messages are saved
		}{
			{"default", nil, false},
			{"envelope", map[string]string{"mail_never_cache_fields": "", "mail_cache_fields": "flags imap.envelope"}, false},
			{"at save", map[string]string{"mail_never_cache_fields": "", "mail_always_cache_fields": "imap.envelope imap.bodystructure date.sent date.received " +
				"hdr.received hdr.subject hdr.x-none hdr.to hdr.from hdr.content-type"}, true},
		} {
			t.Run(writer+"/"+c.name, func(t *testing.T) {
				env := newCacheTest(t, c.settings)
				var appends []string
				for i, text := range texts {
					appends = append(appends, fmt.Sprintf("APPEND INBOX \"%02d-Jan-2024 10:00:00 +0000\" {%d+}\r\n%s", i%28+1, len(text), text))
				}
				env.talk(t, writer, appends...)
				var first string
				if !c.atSave || writer == "theirs" { // Dovecot caches only a part of it at save
					first = env.talk(t, writer, commands...)
				}
				env.hide(t, true)
				for _, who := range []string{"theirs", "ours", "theirs"} {
					got := env.talk(t, who, commands...)
					if first == "" {
						first = got
					}
					if got != first {
						t.Errorf("%s answered differently: %s", who, firstDifference(first, got))
					}
				}
				env.hide(t, false)
				if log := env.log(); strings.Contains(log, "Error") || strings.Contains(log, "orrupt") || strings.Contains(log, "Warning") {
					t.Errorf("log: %s", log)
				}
			})
		}
	}
}

// firstDifference returns the lines in which two texts begin to differ.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return fmt.Sprintf("line %d:\n%q\n%q", i, x[i], strings.Join(y[min(i, len(y)):min(i+1, len(y))], ""))
		}
	}
	return "more lines"
}

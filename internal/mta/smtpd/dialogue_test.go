package smtpd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// A dialogue is a file in testdata/dialogues, for this server and for
// Postfix alike:
//
//	-- main.cf --   parameters besides baseConfig; AUTHSERVER is that of startAuth
//	-- dialogue --  "C: line", "C! quoted bytes", "S: reply line", "close"
//	-- log --       what smtpd logs, QUEUEID for queue ids
//	-- message --   the content queued last, with DATE for dates
type dialogue struct {
	name               string
	config             string
	lines              []string
	log, message       string
	hasLog, hasMessage bool
}

func readDialogues(t testing.TB) []dialogue {
	t.Helper()
	files, err := filepath.Glob("testdata/dialogues/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues: ", err)
	}
	var all []dialogue
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := dialogue{name: strings.TrimSuffix(filepath.Base(file), ".txtar")}
		for _, f := range archive.Files {
			text := string(f.Data)
			switch f.Name {
			case "main.cf":
				d.config = strings.ReplaceAll(text, "AUTHSERVER", startAuth(t))
			case "dialogue":
				d.lines = strings.Split(strings.TrimSpace(text), "\n")
			case "log":
				d.log, d.hasLog = text, true
			case "message":
				d.message, d.hasMessage = text, true
			default:
				t.Fatalf("%s: unknown section %q", file, f.Name)
			}
		}
		all = append(all, d)
	}
	return all
}

var (
	queueIDPattern = regexp.MustCompile(`\b[0-9A-F]{9,14}\b`)
	datePattern    = regexp.MustCompile(`\w{3}, [ 0-9]\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)`)
	stampPattern   = regexp.MustCompile(`\b20\d{12}\b`)
)

// normalize replaces what differs from run to run.
func normalize(s string) string {
	s = datePattern.ReplaceAllString(s, "DATE")
	s = stampPattern.ReplaceAllString(s, "STAMP")
	return queueIDPattern.ReplaceAllString(s, "QUEUEID")
}

// play speaks the client's part and returns the whole dialogue as it went.
func (d *dialogue) play(t testing.TB, addr string) (transcript []string, queueIDs []string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	for _, line := range d.lines {
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "C:":
			io.WriteString(conn, text+"\r\n")
		case "C!":
			raw, err := strconv.Unquote(text)
			if err != nil {
				t.Fatalf("%s: %s: %v", d.name, line, err)
			}
			io.WriteString(conn, raw)
		case "S:":
			reply, err := r.ReadString('\n')
			if err != nil {
				transcript = append(transcript, "S? "+err.Error())
				return transcript, queueIDs
			}
			reply = strings.TrimSuffix(reply, "\r\n")
			if _, id, ok := strings.Cut(reply, "queued as "); ok {
				queueIDs = append(queueIDs, id)
			}
			line = "S: " + normalize(reply)
		case "close":
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
				line = fmt.Sprintf("no close: %v", err)
			}
		case "#":
		default:
			t.Fatalf("%s: bad line %q", d.name, line)
		}
		transcript = append(transcript, line)
	}
	return transcript, queueIDs
}

func (d *dialogue) check(t *testing.T, transcript []string, log, message string) {
	t.Helper()
	if diff := cmp.Diff(d.lines, transcript); diff != "" {
		t.Errorf("dialogue (-script +server):\n%s", diff)
	}
	if diff := cmp.Diff(d.log, normalize(log)); d.hasLog && diff != "" {
		t.Errorf("log (-script +server):\n%s", diff)
	}
	if diff := cmp.Diff(d.message, normalize(message)); d.hasMessage && diff != "" {
		t.Errorf("message (-script +server):\n%s", diff)
	}
}

func TestDialogues(t *testing.T) {
	for _, d := range readDialogues(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			ts := startServer(t, d.config, nil)
			transcript, _ := d.play(t, ts.addr)
			ts.awaitSessions(t)
			var log strings.Builder
			for line := range strings.Lines(ts.log.lines(t)) {
				if !strings.Contains(line, "message-id=") {
					log.WriteString(line)
				}
			}
			message := ""
			if n := len(ts.queue.messages); n > 0 {
				message = strings.ReplaceAll(ts.queue.messages[n-1].body.String(), "\r\n", "\n")
			}
			d.check(t, transcript, log.String(), message)
		})
	}
}

// TestDialoguesPostfix runs the dialogues against Postfix itself, where it is
// installed and may be started: it shows that they say what Postfix says.
func TestDialoguesPostfix(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Postfix")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	if _, err := os.Stat("/usr/sbin/postfix"); err != nil {
		t.Fatal("Postfix is not installed: run test/install-packages")
	}
	all := readDialogues(t)
	p := startPostfix(t, all)
	for i, d := range all {
		t.Run(d.name, func(t *testing.T) {
			transcript, ids := d.play(t, p.addrs[i])
			message := ""
			if len(ids) > 0 {
				message = p.content(t, ids[len(ids)-1])
			}
			d.check(t, transcript, p.smtpdLog(t, i), message)
		})
	}
}

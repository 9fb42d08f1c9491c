package imap

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// Dialogues are txtar files. The file "dialogue" has what clients say and are
// answered:
//
//	C: a1 SELECT INBOX        a line from the client
//	C> name                   the file "name" of the archive, its lines ended by CRLF
//	S: * 0 EXISTS             a line from the server
//	2C: ..., 2S: ...          the same for a second connection of the user; lines
//	                          from a server after lines of the other come unasked
//	# ...                     a comment
//
// {name} and {name+} in a client's line are literals of the file's size. Other
// files named set/NAME are settings. What differs from run to run (times,
// UIDVALIDITY, GUIDs, today's date) is written as placeholders; VALIDITY and TOKEN, that
// of the last URL from GENURLAUTH, can be sent, too. Those in
// testdata/dialogue give the same with Dovecot; those in testdata/own show where
// the server differs from it on purpose.
//
// What is in testdata/own is written with -own, to be read before it is believed.
var (
	update    = flag.Bool("update", false, "write what Dovecot answers to testdata/dialogue")
	updateOwn = flag.Bool("own", false, "write what this server answers to testdata/own")
)

const dovecotIMAP = "/usr/lib/dovecot/imap"

func TestDialogues(t *testing.T) {
	for _, dir := range []string{"dialogue", "own"} {
		for _, file := range scripts(t, dir) {
			t.Run(dir+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				d := loadDialogue(t, file)
				env := newTestServer(t, d.settings)
				d.run(t, env.dial)
				if *updateOwn && dir == "own" {
					d.write(t, file)
					return
				}
				d.compare(t)
			})
		}
	}
}

// TestDialoguesDovecot runs the same dialogues with Dovecot.
func TestDialoguesDovecot(t *testing.T) {
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	for _, file := range scripts(t, "dialogue") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			d := loadDialogue(t, file)
			d.run(t, newDovecot(t, d.settings))
			if *update {
				d.write(t, file)
				return
			}
			d.compare(t)
		})
	}
}

// write replaces the answers in the file.
func (d *dialogue) write(t *testing.T, file string) {
	t.Helper()
	d.archive.Files[d.index].Data = []byte(d.got())
	if err := os.WriteFile(file, txtar.Format(d.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func scripts(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A dialogue is a script and what came of it.
type dialogue struct {
	archive  *txtar.Archive
	index    int // of the file "dialogue"
	files    map[string][]byte
	settings map[string]string
	blocks   []*block
	validity string // UIDVALIDITY of the mailbox that was selected last
	token    string // of the URL that was authorized last
}

var (
	uidValidity  = regexp.MustCompile(`\[UIDVALIDITY ([0-9]+)\]`)
	urlAuthToken = regexp.MustCompile(`\b01[0-9a-f]{40}\b`)
)

// A block is consecutive lines of one client and the answers.
type block struct {
	head []string // comments and empty lines before it
	conn string   // "" or "2"
	send []string // "C: ..." and "C> ..." without the connection
	want []string
	got  []string
}

func loadDialogue(t *testing.T, file string) *dialogue {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{archive: archive, index: -1, files: map[string][]byte{}, settings: map[string]string{}}
	for i, f := range archive.Files {
		switch name, isSetting := strings.CutPrefix(f.Name, "set/"); {
		case isSetting:
			d.settings[name] = strings.TrimSpace(string(f.Data))
		case f.Name == "dialogue":
			d.index = i
			d.blocks = parseBlocks(t, string(f.Data))
		default:
			d.files[f.Name] = bytes.ReplaceAll(f.Data, []byte("\n"), []byte("\r\n"))
		}
	}
	if d.index < 0 {
		t.Fatalf("%s: no dialogue", file)
	}
	return d
}

func parseBlocks(t *testing.T, text string) []*block {
	t.Helper()
	var blocks []*block
	cur := &block{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		conn, rest := "", line
		if strings.HasPrefix(line, "2C") || strings.HasPrefix(line, "2S") {
			conn, rest = "2", line[1:]
		}
		switch {
		case strings.HasPrefix(rest, "C:") || strings.HasPrefix(rest, "C>"):
			if len(cur.want) > 0 || len(cur.send) > 0 && (cur.conn != conn || !continues(cur.send, rest)) {
				blocks = append(blocks, cur)
				cur = &block{}
			}
			cur.conn = conn
			cur.send = append(cur.send, rest)
		case strings.HasPrefix(rest, "S:"):
			if cur.conn != conn { // said without being asked
				blocks = append(blocks, cur)
				cur = &block{conn: conn}
			}
			cur.want = append(cur.want, rest)
		case line == "" || line[0] == '#':
			if len(cur.send) > 0 {
				blocks = append(blocks, cur)
				cur = &block{}
			}
			cur.head = append(cur.head, line)
		default:
			t.Fatalf("bad line %q", line)
		}
	}
	return append(blocks, cur)
}

// continues reports whether the next line belongs to the command of the lines
// before: it is, or follows, a literal, or is empty.
func continues(send []string, next string) bool {
	if strings.TrimSpace(next) == "C:" {
		return true
	}
	last := send[len(send)-1]
	return strings.HasPrefix(last, "C>") || literalEnd.MatchString(last)
}

var literalEnd = regexp.MustCompile(`\{[A-Za-z0-9/.]+\+?\}$`)

// run plays the dialogue.
//
// LIST replies are sorted: Dovecot's order is that of directory entries.
func (d *dialogue) run(t *testing.T, dial func(t *testing.T) net.Conn) {
	t.Helper()
	type client struct {
		net.Conn
		r *bufio.Reader
	}
	clients := map[string]*client{}
	for _, b := range d.blocks {
		if len(b.send) == 0 && len(b.want) == 0 {
			continue
		}
		c := clients[b.conn]
		if c == nil {
			conn := dial(t)
			c = &client{conn, bufio.NewReader(conn)}
			clients[b.conn] = c
			c.SetReadDeadline(time.Now().Add(60 * time.Second))
			if greeting, err := c.r.ReadString('\n'); err != nil || !strings.HasPrefix(greeting, "* PREAUTH [CAPABILITY IMAP4rev1 ") {
				t.Fatalf("greeting %q, %v", greeting, err)
			}
		}
		for i, line := range b.send {
			c.Write(d.expand(t, line)) // that the connection has ended shows when reading
			if last := i == len(b.send)-1; !last && asksForLiteral(line) {
				d.read(b, c.Conn, c.r, "S: + OK", "")
			}
		}
		last := ""
		if len(b.want) > 0 && !*update && !*updateOwn {
			last = b.want[len(b.want)-1]
		}
		d.read(b, c.Conn, c.r, last, tagOf(b.send))
		if n := len(b.got) - 1; n > 0 && !slices.ContainsFunc(b.got[:n], notList) {
			slices.Sort(b.got[:n])
		}
	}
	for _, c := range clients {
		c.Close()
	}
}

func notList(line string) bool { return !strings.HasPrefix(line, "S: * LIST ") }

// expand returns what a client's line sends.
func (d *dialogue) expand(t *testing.T, line string) []byte {
	t.Helper()
	if name, ok := strings.CutPrefix(line, "C> "); ok {
		data, ok := d.files[name]
		if !ok {
			t.Fatalf("no file %q", name)
		}
		return data
	}
	text := strings.TrimPrefix(strings.TrimPrefix(line, "C:"), " ")
	for name, data := range d.files {
		text = strings.ReplaceAll(text, "{"+name+"}", fmt.Sprintf("{%d}", len(data)))
		text = strings.ReplaceAll(text, "{"+name+"+}", fmt.Sprintf("{%d+}", len(data)))
	}
	text = strings.ReplaceAll(text, "TOKEN", d.token)
	return []byte(strings.ReplaceAll(text, "VALIDITY", d.validity) + "\r\n")
}

var syncLiteral = regexp.MustCompile(`\{[A-Za-z0-9/.]+\}$`)

func asksForLiteral(line string) bool {
	return strings.HasPrefix(line, "C: ") && syncLiteral.MatchString(line)
}

// tagOf returns the tag of the last command of a block.
func tagOf(send []string) string {
	for i := len(send) - 1; i >= 0; i-- {
		if text, ok := strings.CutPrefix(send[i], "C: "); ok {
			tag, _, _ := strings.Cut(text, " ")
			if len(tag) > 1 && tag != "DONE" && tag[0] >= 'a' && tag[0] <= 'z' {
				return tag
			}
		}
	}
	return ""
}

// read reads answers: up to the line wanted last, the tagged reply, or a
// continuation request.
func (d *dialogue) read(b *block, c net.Conn, r *bufio.Reader, last, tag string) {
	wait := 30 * time.Second
	if last == "" && (*update || *updateOwn) {
		wait = 500 * time.Millisecond
	}
	c.SetReadDeadline(time.Now().Add(wait))
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			if m := uidValidity.FindStringSubmatch(line); m != nil {
				d.validity = m[1]
			}
			if m := urlAuthToken.FindString(line); m != "" && strings.HasPrefix(line, "* GENURLAUTH ") {
				d.token = m
			}
			if onlyOurs(line) {
				continue
			}
			line = "S: " + normalize(strings.TrimRight(line, "\r\n"))
			line = strings.TrimSuffix(line, " ")
			b.got = append(b.got, line)
		}
		switch {
		case err == io.EOF, errors.Is(err, syscall.ECONNRESET):
			b.got = append(b.got, "S: EOF")
			return
		case err != nil:
			if last != "" {
				b.got = append(b.got, "S: "+err.Error())
			}
			return
		case last != "" && line == last && r.Buffered() == 0,
			tag != "" && strings.HasPrefix(line, "S: "+tag+" "),
			strings.HasPrefix(line, "S: + "):
			if last != "S: EOF" {
				return
			}
		}
	}
}

var normalizers = []struct {
	re   *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`\([0-9.]+ \+ [0-9.]+( \+ [0-9.]+)? secs\)`), "(T)"},
	{urlAuthToken, "TOKEN"},
	{regexp.MustCompile(`\b[0-9]{10}\b`), "VALIDITY"},
	{regexp.MustCompile(`"[0-9]{2}-[A-Z][a-z]{2}-20[2-9][0-9] [0-9:]{8} [-+][0-9]{4}"`), "NOW"},
	{regexp.MustCompile(` ?\\(Un)?Marked`), ""},                // depends on what was opened before
	{regexp.MustCompile(`\* OK \[MAILBOXID [^\r\n]*\r\n`), ""}, // as onlyOurs
	{regexp.MustCompile(`\[MAILBOXID [^\]]*\] `), ""},
	{regexp.MustCompile(`\[20[2-9][0-9]-[0-9]{2}-[0-9]{2} [0-9:]{8}\]`), "[NOW]"},
}

// onlyOurs reports whether the line is one that Dovecot never says and clients need not look for: the
// MAILBOXID of RFC 8474 4.2, which has a test of its own.
func onlyOurs(line string) bool { return strings.HasPrefix(line, "* OK [MAILBOXID ") }

func normalize(line string) string {
	for _, n := range normalizers {
		line = n.re.ReplaceAllString(line, n.text)
	}
	return readable(line)
}

// readable writes what is not text as \x00.
func readable(line string) string {
	var b strings.Builder
	for i, r := range line {
		if r == utf8.RuneError || r < ' ' && r != '\t' && r != '\r' && r != '\n' {
			fmt.Fprintf(&b, `\x%02x`, line[i])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (d *dialogue) render(answers func(*block) []string) string {
	var b strings.Builder
	for _, bl := range d.blocks {
		for _, h := range bl.head {
			b.WriteString(h + "\n")
		}
		for _, l := range append(bl.send[:len(bl.send):len(bl.send)], answers(bl)...) {
			b.WriteString(bl.conn + l + "\n")
		}
	}
	return b.String()
}

func (d *dialogue) got() string { return d.render(func(b *block) []string { return b.got }) }

func (d *dialogue) compare(t *testing.T) {
	t.Helper()
	want := d.render(func(b *block) []string { return b.want })
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(d.got(), "\n")); diff != "" {
		t.Errorf("dialogue differs (-want +got):\n%s", diff)
	}
}

package smtpd

import (
	"bufio"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

var record = flag.Bool("record", false, "write what Postfix says into the dialogues that have no replies yet")

// TestRecord completes new dialogues: their files hold the client's lines, and
// "+" where Postfix sends a reply more than one per line.
func TestRecord(t *testing.T) {
	if !*record {
		t.Skip("only with -record")
	}
	var fresh []dialogue
	for _, d := range readDialogues(t) {
		if !strings.Contains(strings.Join(d.lines, "\n"), "\nS: ") {
			fresh = append(fresh, d)
		}
	}
	if len(fresh) == 0 {
		return
	}
	p := startPostfix(t, fresh)
	for i := range fresh {
		d := &fresh[i]
		id := d.recordFrom(t, p.addrs[i])
		path := filepath.Join("testdata/dialogues", d.name+".txtar")
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var files []txtar.File
		for _, f := range archive.Files {
			if f.Name == "main.cf" {
				files = append(files, f)
			}
		}
		files = append(files,
			txtar.File{Name: "dialogue", Data: []byte(strings.Join(d.lines, "\n") + "\n")},
			txtar.File{Name: "log", Data: []byte(normalize(p.smtpdLog(t, i)))})
		if id != "" {
			files = append(files, txtar.File{Name: "message", Data: []byte(normalize(p.content(t, id)))})
		}
		archive.Files = files
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// recordFrom replaces the lines of a dialogue by the whole of it.
func (d *dialogue) recordFrom(t *testing.T, addr string) (id string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	var lines []string
	content := false
	read := func() {
		for {
			reply, err := r.ReadString('\n')
			if err != nil {
				lines = append(lines, "close")
				return
			}
			reply = strings.TrimSuffix(reply, "\r\n")
			if _, queued, ok := strings.Cut(reply, "queued as "); ok {
				id = queued
			}
			content = strings.HasPrefix(reply, "354")
			lines = append(lines, "S: "+normalize(reply))
			if len(reply) < 4 || reply[3] != '-' {
				return
			}
		}
	}
	read()
	for _, line := range d.lines {
		kind, text, _ := strings.Cut(line, " ")
		switch kind {
		case "+":
			read()
			continue
		case "C:":
			io.WriteString(conn, text+"\r\n")
		case "C!":
			raw, err := strconv.Unquote(text)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(conn, raw)
			content = false
		}
		lines = append(lines, line)
		if !content || line == "C: ." {
			read()
		}
	}
	if lines[len(lines)-1] == "S: 221 2.0.0 Bye" {
		lines = append(lines, "close")
	}
	d.lines = lines
	return id
}

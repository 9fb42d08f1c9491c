package login

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

func FuzzIMAP(f *testing.F) {
	f.Add(imapScript)
	fuzz(f, "imap")
}

func FuzzPOP3(f *testing.F) { fuzz(f, "pop3") }

// fuzz gives a session input of any kind. It must end with the input, and
// answer in lines.
func fuzz(f *testing.F, service string) {
	files, _ := filepath.Glob(filepath.Join("testdata", service, "*.txtar"))
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(clientSide(string(ar.Files[len(ar.Files)-1].Data)))
	}
	s := newTestServer(f, service, "")
	close(s.auth.hang)
	f.Fuzz(func(t *testing.T, input string) {
		ours, theirs := net.Pipe() // has no descriptor, so nobody gets past the login
		defer ours.Close()
		ours.SetDeadline(time.Now().Add(60 * time.Second))
		go s.Serve(t.Context(), theirs, Listener{})
		go func() {
			io.WriteString(ours, strings.ReplaceAll(strings.ToUpper(input), "STLS", "")+"\r\n")
			if service == "imap" {
				io.WriteString(ours, strings.Repeat("\r\n", 8)) // three end it; a SASL exchange takes some
				return
			}
			io.WriteString(ours, "QUIT\r\n")
			ours.SetReadDeadline(time.Now().Add(time.Second)) // it may be waiting for a SASL response
		}()
		out, err := io.ReadAll(ours)
		if err != nil { // it went in the middle of an answer
			out = out[:bytes.LastIndexByte(out, '\n')+1]
		}
		if len(out) > 0 && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("answers end in %q", out[max(0, len(out)-50):])
		}
	})
}

// clientSide is what the client sends in a dialogue.
func clientSide(dialogue string) string {
	var in strings.Builder
	for line := range strings.SplitSeq(dialogue, "\n") {
		if cmd, ok := strings.CutPrefix(line, "C: "); ok {
			in.WriteString(cmd + "\r\n")
		}
		if raw, ok := strings.CutPrefix(line, "R: "); ok {
			if text, err := strconv.Unquote(raw); err == nil {
				in.WriteString(text)
			}
		}
	}
	return in.String()
}

// FuzzArgs parses arguments: every text must lie within what was given.
func FuzzArgs(f *testing.F) {
	for _, seed := range []string{`a "b\"c" NIL`, "(a (b) c)", "{3+}", `"`, "{99999999999999999999}", "x{3}", `\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var p imapArgs
		p.reset()
		if err := p.feed(line); err != nil {
			return
		}
		if p.want > maxLiteral || len(p.args) > maxArgs || len(p.text) > len(line) {
			t.Errorf("%q: want %d, %d arguments, %d bytes", line, p.want, len(p.args), len(p.text))
		}
		for i := range p.args {
			p.str(i)
		}
	})
}

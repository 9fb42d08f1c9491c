package lmtp

import (
	"bytes"
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

// FuzzSession gives a session input of any kind. It must end with the input,
// and answer in lines; what is delivered must begin with the server's header.
func FuzzSession(f *testing.F) {
	f.Add(whole)
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(clientSide(string(ar.Files[len(ar.Files)-1].Data)))
	}
	m := new(memory)
	s := newTestServer(f, "", m)
	f.Fuzz(func(t *testing.T, input string) {
		conn, err := net.Dial("tcp", s.Addr(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		go func() {
			io.WriteString(conn, input)
			conn.(*net.TCPConn).CloseWrite()
		}()
		out, err := io.ReadAll(conn)
		if os.IsTimeout(err) {
			t.Fatal("the session does not end")
		}
		if err == nil && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("answers end in %q", out[max(0, len(out)-50):])
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, sv := range m.saved {
			if !bytes.HasPrefix(sv.text, []byte("Return-Path: <")) || bytes.Contains(bytes.ReplaceAll(sv.text, []byte("\r\n"), nil), []byte("\n")) {
				t.Errorf("saved %q", sv.text)
			}
		}
		m.saved = nil
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

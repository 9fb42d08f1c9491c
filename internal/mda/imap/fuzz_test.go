package imap

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzSession sends arbitrary bytes to a session: it must end when its client
// goes away, and never panic. The seeds are the dialogues.
func FuzzSession(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no dialogues", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var b strings.Builder
		for line := range strings.Lines(string(data)) {
			if text, ok := strings.CutPrefix(line, "C: "); ok {
				b.WriteString(strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "{abc+}", "{5+}\r\nabc") + "\r\n")
			}
		}
		f.Add([]byte(b.String()))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		srv := newTestServer(t, nil)
		client, done := srv.serve(t)
		go io.Copy(io.Discard, client)
		client.SetWriteDeadline(time.Now().Add(60 * time.Second))
		client.Write(input)
		client.(*net.TCPConn).CloseWrite()
		select {
		case <-done:
		case <-time.After(60 * time.Second):
			t.Error("the session does not end")
		}
		if strings.Contains(srv.logged(), "panic") {
			t.Error(srv.logged())
		}
	})
}

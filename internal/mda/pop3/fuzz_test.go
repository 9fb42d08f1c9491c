package pop3

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzSession gives a session input of any kind. It must end with the input,
// with answers that are lines.
func FuzzSession(f *testing.F) {
	f.Add(strings.TrimPrefix(script, "USER pop\r\nPASS pass\r\n"))
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var in strings.Builder
		for line := range strings.SplitSeq(string(ar.Files[len(ar.Files)-1].Data), "\n") {
			if cmd, ok := strings.CutPrefix(line, "C: "); ok {
				in.WriteString(cmd + "\r\n")
			}
		}
		f.Add(in.String())
	}
	s := newTestServer(f, "")
	f.Fuzz(func(t *testing.T, input string) {
		conn, err := net.Dial("tcp", s.Addr(""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		go func() {
			io.WriteString(conn, "USER fuzz\r\nPASS x\r\n"+input+"\r\n")
			conn.(*net.TCPConn).CloseWrite()
		}()
		out, err := io.ReadAll(conn)
		if os.IsTimeout(err) {
			t.Fatal("the session does not end")
		}
		if err == nil && !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Errorf("answers end in %q", out[max(0, len(out)-50):])
		}
	})
}

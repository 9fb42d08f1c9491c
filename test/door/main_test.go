package door

import (
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// programs are who is compared.
var programs = []harness.Program{harness.Original, harness.Dovetail}

// patience bounds what must happen.
const patience = 60 * time.Second

// dial connects to host:port or to the socket at a path.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // it is open
	return conn
}

// readAll reads what a server says until it closes the connection.
func readAll(t *testing.T, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		t.Errorf("%s does not close the connection; it has said %q", conn.RemoteAddr(), text)
	}
	return string(text)
}

var (
	logLine = regexp.MustCompile(`(?m)^.{15} \S+ (\S+)\[\d+\]: (.*)$`)
	queueID = regexp.MustCompile(`\b[0-9A-F]{9,14}\b`)
	tempDir = regexp.MustCompile(`/tmp/dovetail-test-[0-9]+`)
	process = regexp.MustCompile(`process id \d+`)
)

// logged waits for as many lines of a service as are wanted, and returns them sorted and
// without what differs from run to run.
func logged(t *testing.T, tr *harness.Transport, service string, want int) []string {
	t.Helper()
	var lines []string
	harness.Eventually(t, service+" logs", func() bool {
		text, err := os.ReadFile(tr.Log)
		if err != nil {
			return false
		}
		lines = nil
		for _, m := range logLine.FindAllStringSubmatch(string(text), -1) {
			if m[1] == service {
				lines = append(lines, normal(m[2]))
			}
		}
		return len(lines) >= want
	})
	slices.Sort(lines)
	return lines
}

// normal is a text without what differs from run to run.
func normal(s string) string {
	s = tempDir.ReplaceAllString(s, "DIR")
	s = process.ReplaceAllString(s, "process id N")
	return queueID.ReplaceAllString(s, "QUEUEID")
}

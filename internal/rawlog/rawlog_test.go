package rawlog

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	here, there := net.Pipe()
	conn, err := Record(here, dir)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.WriteString(there, "* OK\r\npart")
		io.WriteString(there, " of a line\r\n")
		io.CopyN(io.Discard, there, 10)
		there.Close()
	}()
	if _, err := io.ReadFull(conn, make([]byte, 22)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "a NOOP\r\nb ")
	conn.Close()
	stamp := regexp.MustCompile(`(?m)^\d{10,}\.\d{6} `)
	for suffix, want := range map[string]string{"in": "@* OK\r\n@part of a line\r\n", "out": "@a NOOP\r\n@b "} {
		files, _ := filepath.Glob(filepath.Join(dir, "*."+suffix))
		if len(files) != 1 || !regexp.MustCompile(`^\d{8}-\d{6}\.\d+\.\d+\.`).MatchString(filepath.Base(files[0])) {
			t.Fatalf("files %q", files)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := stamp.ReplaceAllString(string(text), "@"); got != want {
			t.Errorf("%s: %q, want %q", suffix, got, want)
		}
	}
}

// A connection without record is the same connection.
func TestNoDirectory(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		if conn, err := Record(here, dir); conn != here || err != nil {
			t.Errorf("%q: %v, %v", dir, conn, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if conn, err := Record(here, file); conn != here || err == nil || !strings.Contains(err.Error(), "creat(") {
		t.Errorf("file: %v, %v", conn, err)
	}
}

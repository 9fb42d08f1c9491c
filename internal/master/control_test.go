package master

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (ours, theirs *Conn) {
	t.Helper()
	ours, f, err := NewPair()
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err = NewConn(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs
}

func TestMessageCarriesDescriptors(t *testing.T) {
	ours, theirs := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := ours.Send("greeting", map[string]string{"text": "hello"}, w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	m, err := theirs.Receive()
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]string
	if err := m.Decode(&body); err != nil || m.Kind != "greeting" || body["text"] != "hello" || len(m.Files) != 1 {
		t.Fatalf("received %q %v with %d files (%v)", m.Kind, body, len(m.Files), err)
	}
	if _, err := m.Files[0].WriteString("through"); err != nil {
		t.Fatal(err)
	}
	m.CloseFiles()
	text, err := io.ReadAll(r)
	if string(text) != "through" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
}

// TestDescriptorsLost receives a message whose descriptor has no place any more: what it says is there, and so are the
// messages behind it.
func TestDescriptorsLost(t *testing.T) {
	ours, theirs := pair(t)
	for range 2 {
		if err := ours.Send("take", map[string]int{"id": 7}, os.Stderr); err != nil {
			t.Fatal(err)
		}
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	full := limit
	full.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &full); err != nil {
		t.Fatal(err)
	}
	m, err := theirs.Receive()
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); e != nil {
		t.Fatal(e)
	}
	var body struct{ ID int }
	if !errors.Is(err, ErrDescriptors) || len(m.Files) != 0 || m.Kind != "take" || m.Decode(&body) != nil || body.ID != 7 {
		t.Errorf("received %q %s with %d files, %v", m.Kind, m.Body, len(m.Files), err)
	}
	if err := new(Process).adopt(&m); !errors.Is(err, ErrDescriptors) {
		t.Errorf("taken over without its descriptors: %v", err)
	}
	if m, err = theirs.Receive(); err != nil || len(m.Files) != 1 {
		t.Fatalf("the next one comes with %d files, %v", len(m.Files), err)
	}
	m.CloseFiles()
}

func TestOversizedMessageIsRefused(t *testing.T) {
	ours, _ := pair(t)
	if err := ours.Send("x", strings.Repeat("a", maxMessage)); err == nil {
		t.Error("a message over the limit was sent")
	}
}

func TestEndOfConnection(t *testing.T) {
	ours, theirs := pair(t)
	ours.Close()
	if _, err := theirs.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("Receive after the other side closed: %v, want EOF", err)
	}
}

func TestMemfd(t *testing.T) {
	want := strings.Repeat("configuration", 100000)
	f, err := Memfd("test", []byte(want))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadMemfd(f)
	if string(got) != want || err != nil {
		t.Errorf("read %d bytes (%v), want %d", len(got), err, len(want))
	}
}

func TestListenersSurviveReplacement(t *testing.T) {
	l := NewListeners(nil)
	defer l.Close()
	dir := t.TempDir()
	spec := func(name string) ListenerSpec {
		return ListenerSpec{Name: name, Network: "unix", Address: dir + "/" + name, Mode: 0o600, UID: -1, GID: -1}
	}
	if err := l.Replace([]ListenerSpec{spec("a"), spec("b")}); err != nil {
		t.Fatal(err)
	}
	a := spec("a")
	kept := l.File(&a)
	if err := l.Replace([]ListenerSpec{a, spec("c")}); err != nil {
		t.Fatal(err)
	}
	if l.File(&a) != kept {
		t.Error("a listener that stays was opened anew")
	}
	if _, err := os.Stat(dir + "/b"); !os.IsNotExist(err) {
		t.Errorf("the socket that is no longer wanted: %v", err)
	}
	info, err := os.Stat(dir + "/c")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the new socket: %v, %v", info, err)
	}
	bad := ListenerSpec{Name: "bad", Network: "tcp", Address: "192.0.2.1:1"}
	if err := l.Replace([]ListenerSpec{a, bad}); err == nil || !strings.Contains(err.Error(), "listen(192.0.2.1, 1) failed") {
		t.Errorf("an address that is not ours: %v", err)
	}
	if l.File(&a) != kept {
		t.Error("a failed replacement closed a listener")
	}
}

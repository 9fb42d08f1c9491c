package switching

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// crowd is how many messages wait in the tests with kills.
const crowd = 250

// leaveCrowd leaves messages in Postfix's deferred queue, each with a recipient
// that is done and one that is not.
func leaveCrowd(t *testing.T, tr *harness.Transport) map[string]string {
	t.Helper()
	want := make(map[string]string)
	deferred := filepath.Join(tr.Dir, "spool/deferred")
	for i := range crowd {
		id := fmt.Sprintf("%05X%X", i*2003%1000000, 0xB00000+i)
		rcpt := fmt.Sprintf("rcpt%d@sink.test", i)
		text := fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat(fmt.Sprintf("message %d\r\n", i), i%50))
		m := &queuefile.Message{
			Arrival: time.Now(), Created: time.Now(), Sender: "sender@origin.test", Context: "local",
			Recipients: []queuefile.Recipient{
				{Address: "finished@sink.test", Original: "finished@sink.test", Type: queuefile.TypeDone},
				{Address: rcpt, Original: rcpt, Type: queuefile.TypeRecipient},
			},
		}
		path := filepath.Join(deferred, id[:1], id)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Compose(f, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		later := time.Now().Add(30 * time.Minute)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		want[rcpt] = text
	}
	harness.Run(t, "", "chown", "-R", "postfix:postfix", deferred)
	return want
}

// count is how many files Postfix would find.
func count(tr *harness.Transport) int {
	n := 0
	filepath.WalkDir(filepath.Join(tr.Dir, "spool/deferred"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil // what is gone meanwhile does not count
	})
	return n
}

// killWhen runs a command and kills it, with its processes, at a moment.
func killWhen(t *testing.T, now func() bool, args ...string) {
	t.Helper()
	p := harness.Start(t, nil, harness.Binary(t), args...)
	for {
		select {
		case <-p.Done():
			return
		default:
		}
		if now() {
			p.KillAll()
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// TestKilled kills the service while it takes mail over, and the export while it
// gives it back, several times each, and has Postfix deliver in the end.
func TestKilled(t *testing.T) {
	s := newSink(t)
	tr := transport(t, s, "")
	// Postfix makes its directories.
	tr.Start(t)
	tr.Stop()
	want := leaveCrowd(t, tr)
	chance := rand.New(rand.NewPCG(5, 6))
	for at := crowd; at > 0; {
		// Somewhere on the way, not where the kill before was.
		at -= 1 + chance.IntN(crowd/2)
		killWhen(t, func() bool { return count(tr) <= max(at, 0) }, "postfix", "-c", tr.Config, "start-fg")
	}
	if n := count(tr); n > 0 {
		t.Fatalf("%d files left", n)
	}
	for at := 0; at < crowd; {
		at += 1 + chance.IntN(crowd/2)
		killWhen(t, func() bool { return count(tr) >= min(at, crowd) }, "export-queue", "-c", tr.Config)
	}
	export(t, tr)
	if n := count(tr); n != crowd {
		t.Fatalf("%d of %d files came back", n, crowd)
	}
	become(t, tr, harness.Original)
	got := settle(t, tr, s)
	compare(t, want, got)
	tr.Stop()
}

package postdrop

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// drop gives a submission to a command whose maildrop is a directory of the test.
func drop(t testing.TB, input string, limit int64) (status int, answer string, files []string, err error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir(queueName, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &command{
		stderr: io.Discard, uid: 1, log: maillog.NewFunc(func(maillog.Level, string) {}),
		core: &postfix.Core{MessageSizeLimit: limit}, set: &Settings{AuthorizedSubmitUsers: "static:anyone", PickupService: "pickup", LineLengthLimit: 2048},
	}
	var out bytes.Buffer
	if status, err = c.drop(strings.NewReader(input), &out); err != nil {
		c.remove()
	}
	entries, failed := os.ReadDir(queueName)
	if failed != nil {
		t.Fatal(failed)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	return status, out.String(), files, err
}

func records(rec ...string) string {
	var b bytes.Buffer
	w := queuefile.NewWriter(&b)
	for _, r := range rec {
		w.Write(r[0], []byte(r[1:])) //nolint:errcheck // a buffer takes all
	}
	return b.String()
}

func TestDrop(t *testing.T) {
	long := "N" + strings.Repeat("x", 2049)
	for _, c := range []struct {
		name, input string
		status      int
		err         string
		kept        bool
	}{
		{name: "mail", input: records("Sa", "Rb", "M", "Nx", "X", "E"), kept: true},
		{name: "attributes", input: records("Aencoding=8bit", "Afoo=bar", "Anone", "Atrace_flags=256", "Atrace_flags=512", "Sa", "M", "X", "Anotify_flags=2", "Rb", "E"), kept: true},
		{name: "time is ours", input: records("T1 1", "Sa", "Rb", "M", "X", "E"), err: "uid=1: unexpected record type: 84"},
		{name: "no sender", input: records("Rb", "M", "X", "E"), status: StatusBad},
		{name: "no recipient", input: records("Sa", "M", "X", "E"), status: StatusBad},
		{name: "too large", input: records("Sa", "Rb", "M", "N"+strings.Repeat("x", 1100), "X", "E"), status: StatusSize},
		{name: "canceled", input: records("Sa", "Rb", "M", "Nx")},
		{name: "cut off", input: "Sa", err: "uid=1: malformed input"},
		{name: "pointer", input: records("Sa", "p        1", "M"), err: "uid=1: unexpected record type: 112"},
		{name: "filter", input: records("Sa", "Lsmtp:x", "M"), err: "uid=1: unexpected record type: 76"},
		{name: "zero type", input: "\x00\x00", err: "uid=1: unexpected record type: 0"},
		{name: "long record", input: records("Sa", "Rb", "M", long), err: "uid=1: malformed input"},
		{name: "line break in an address", input: records("Sa", "Rb\nc", "M", "X", "E"), err: "uid=1: null or line break in record type: 82"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, answer, files, err := drop(t, c.input, 1000)
			if got := errText(err); got != c.err || status != c.status {
				t.Errorf("status %d, error %q, want %d, %q", status, got, c.status, c.err)
			}
			if (len(files) == 1) != c.kept || len(files) > 1 {
				t.Errorf("files: %v", files)
			}
			if c.kept && !strings.HasSuffix(answer, "\x00\x00status\x000\x00reason\x00\x00\x00") {
				t.Errorf("answer %q", answer)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFileID(t *testing.T) {
	at := time.Unix(1795341731, 29703000)
	if got, want := fileID(at, 10602437, true), "4jXPkW0BzCz1XvGv"; got != want {
		t.Errorf("long ID %s, want %s", got, want)
	}
	if got, want := fileID(at, 0xA1C754, false), "07407A1C754"; got != want {
		t.Errorf("short ID %s, want %s", got, want)
	}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{
		{"static:anyone", true}, {"bob", true}, {"BOB", true}, {"alice", false}, {"", false}, {"!bob, static:all", false},
		{"!!bob", true}, {"alice bob", true}, {"hash:/etc/users", true}, {"/etc/users", true}, {"!bob hash:/etc/users", false},
	} {
		if got, err := allows(c.list, "bob"); err != nil || got != c.want {
			t.Errorf("allows(%q) = %v, %v", c.list, got, err)
		}
	}
	if _, err := allows("!", "bob"); err == nil {
		t.Error("a lone '!' is taken")
	}
}

// What is kept can be parsed, and says nothing that a user may not say.
func FuzzDrop(f *testing.F) {
	f.Add([]byte(records("Sa", "Rb", "M", "Nx", "X", "E")))
	f.Add([]byte(records("Aencoding=8bit", "Sa", "M", "Lx", "N", "X", "Anotify_flags=2", "Rb", "E")))
	f.Fuzz(func(t *testing.T, input []byte) {
		_, _, files, err := drop(t, string(input), 1<<20)
		if len(files) == 0 {
			return
		}
		if err != nil {
			t.Fatalf("a file is left after: %v", err)
		}
		in, err := os.Open(queueName + "/" + files[0])
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o744 {
			t.Errorf("mode %v", info.Mode())
		}
		m, err := queuefile.Parse(in, info.Size())
		if err != nil {
			t.Skip() // pickup removes it
		}
		if m.NoSender || len(m.Recipients) == 0 || m.Filter != "" || m.Redirect != "" || m.Trace&queuefile.TraceProbe != 0 || m.Arrival.IsZero() {
			t.Errorf("%+v", m)
		}
	})
}

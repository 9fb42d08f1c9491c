package takeover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// sampleIDs are the queue IDs under which Postfix had the samples of package
// queuefile.
var sampleIDs = map[string]string{
	"single.deferred":                "8EB89A1C754",
	"multi-one-done.deferred":        "8F6BEA1C663",
	"null-sender.deferred":           "902CFA1C755",
	"dsn.deferred":                   "90AA2A1C756",
	"smtputf8.deferred":              "923DDA1C758",
	"8bit.deferred":                  "9330BA1C759",
	"longline-nul.deferred":          "94E67A1C75D",
	"bdat-nonl.deferred":             "9579EA1C75E",
	"verp.deferred":                  "9B754A1C769",
	"sasl-xclient.deferred":          "ECC64A1C671",
	"milter-edited.deferred":         "F105AA1C6B3",
	"trace-killed.deferred":          "9BC6AA1C7B9",
	"bounced-sent-deferred.deferred": "C18A0A1C770",
	"written-one-done.deferred":      "BF16FA1C650",
	"written-full.deferred":          "7CF8AA1C77F",
	"held.hold":                      "964D4A1C760",
	"filter.hold":                    "9981DA1C763",
	"redirect.hold":                  "9A16EA1C764",
	"written.hold":                   "BEF69A1C64F",
	"written-minimal.incoming":       "BE61AA1C64D",
	"written-dsn.incoming":           "BF2E4A1C651",
	"written-smtputf8.incoming":      "BF430A1C653",
}

const samplesDir = "../queuefile/testdata"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(samplesDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// due is the time of the next attempt of deferred samples: never in a test.
var due = time.Now().Add(48 * time.Hour).Truncate(time.Second)

// spool makes a queue directory in which Postfix left all samples.
func spool(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, id := range sampleIDs {
		base, q, _ := strings.Cut(name, ".")
		depth := 0
		if q == "deferred" {
			depth = 1
		}
		put(t, filepath.Join(dir, queuefile.Path(q, id, depth)), sample(t, name), 0o700, due)
		if log, err := os.ReadFile(filepath.Join(samplesDir, base+".defer")); err == nil {
			put(t, filepath.Join(dir, queuefile.Path("defer", id, 1)), log, 0o600, due)
		}
	}
	return dir
}

func put(t testing.TB, path string, content []byte, mode fs.FileMode, at time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(path, "/incoming/") {
		at = time.Now()
	}
	if err := errors.Join(os.Chmod(path, mode), os.Chtimes(path, at, at)); err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, dir string) *queue.Store {
	t.Helper()
	sub := filepath.Join(dir, queue.Subdir)
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := queue.Open(sub, &queue.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// take runs a takeover and returns its report and its warnings.
func take(t testing.TB, dir string, s *queue.Store) (*Report, []string) {
	t.Helper()
	var warnings []string
	log := maillog.NewFunc(func(level maillog.Level, text string) {
		if level >= maillog.Warning {
			warnings = append(warnings, text)
		}
	})
	r, err := Run(context.Background(), Config{Dir: dir, Store: s, Log: log, Owner: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	return r, warnings
}

// files lists what is below the queues and logs of Postfix.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	for _, q := range slices.Concat(queues, logNames) {
		err := filepath.WalkDir(filepath.Join(dir, q), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				all = append(all, strings.TrimPrefix(path, dir+"/"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}

func load(t testing.TB, s *queue.Store, id string) (*queue.Message, string) {
	t.Helper()
	m, err := s.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Content(m)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	return m, string(b)
}

func TestTakesAll(t *testing.T) {
	dir := spool(t)
	s := openStore(t, dir)
	r, warnings := take(t, dir, s)
	if r.Total() != len(sampleIDs) || r.Left != 0 || len(warnings) > 0 {
		t.Errorf("%+v, %q", r, warnings)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	for name, id := range sampleIDs {
		m, content := load(t, s, id)
		in := sample(t, name)
		msg, err := queuefile.Parse(bytes.NewReader(in), int64(len(in)))
		if err != nil {
			t.Fatal(err)
		}
		want, _ := io.ReadAll(msg.Content())
		if content != string(want) {
			t.Errorf("%s: content %q, want %q", name, content, want)
		}
		if m.Sender != msg.Sender || !m.Arrival.Equal(msg.Arrival) || m.EnvID != msg.EnvID || m.VERP != msg.VERP || m.Filter != msg.Filter {
			t.Errorf("%s: %+v", name, m.Envelope)
		}
		wantQueue := map[string]queue.Name{"deferred": queue.Waiting, "hold": queue.Held, "incoming": queue.Incoming}[name[strings.IndexByte(name, '.')+1:]]
		inf, _ := s.Lookup(id)
		if inf.Queue != wantQueue {
			t.Errorf("%s is in the queue %v", name, inf.Queue)
		}
		if wantQueue == queue.Waiting && !inf.Next.Equal(due) {
			t.Errorf("%s is due at %v, want %v", name, inf.Next, due)
		}
	}
}

// TestRecipients looks at what is known of recipients.
func TestRecipients(t *testing.T) {
	dir := spool(t)
	s := openStore(t, dir)
	take(t, dir, s)
	done := queue.Outcome{State: queue.Done}
	refused := queue.Outcome{Action: "delayed", DSN: "4.4.1", Text: "connect to 127.0.0.1[127.0.0.1]:25009: Connection refused"}
	for _, tc := range []struct {
		sample   string
		rcpts    []queue.Recipient
		outcomes []queue.Outcome
	}{
		{"multi-one-done.deferred", []queue.Recipient{
			{Address: "done@sink.local", Original: "done@sink.local", DSNOrcpt: "rfc822;done@sink.local"},
			{Address: "two@down.local", Original: "two@down.local", DSNOrcpt: "rfc822;two@down.local"},
			{Address: "three@down.local", Original: "three@down.local", DSNOrcpt: "rfc822;three@down.local"},
		}, []queue.Outcome{done, refused, refused}},
		{"bounced-sent-deferred.deferred", []queue.Recipient{
			{Address: "soft27@part.local", Original: "soft27@part.local"},
			{Address: "hard27@part.local", Original: "hard27@part.local"},
			{Address: "ok27@part.local", Original: "ok27@part.local"},
		}, []queue.Outcome{{
			Action: "delayed", DSN: "4.2.0", Text: "host 127.0.0.1[127.0.0.1] said: 450 4.2.0 try later (in reply to RCPT TO command)",
			RemoteMTA: "dns; 127.0.0.1", RemoteCode: "smtp; 450 4.2.0 try later",
		}, done, done}},
		{"milter-edited.deferred", []queue.Recipient{
			{Address: "keep@down.local", Original: "keep@down.local", DSNOrcpt: "rfc822;keep@down.local"},
			{Address: "milteradded@down.local", Original: "milteradded@down.local"},
		}, []queue.Outcome{{}, {}}},
		{"redirect.hold", []queue.Recipient{
			{Address: "other@sink.local", Original: "hold@sink.local", DSNOrcpt: "rfc822;hold@sink.local"},
		}, []queue.Outcome{{}}},
	} {
		m, _ := load(t, s, sampleIDs[tc.sample])
		if diff := cmp.Diff(tc.rcpts, m.Recipients); diff != "" {
			t.Errorf("%s: recipients (-want +got):\n%s", tc.sample, diff)
		}
		if diff := cmp.Diff(tc.outcomes, m.Outcomes); diff != "" {
			t.Errorf("%s: outcomes (-want +got):\n%s", tc.sample, diff)
		}
	}
	m, _ := load(t, s, sampleIDs["sasl-xclient.deferred"])
	if want := (queue.Client{Name: "mail.remote.example", Addr: "192.0.2.9", Port: "4321", Proto: "ESMTP", Helo: "x"}); m.Client != want {
		t.Errorf("client %+v", m.Client)
	}
	if m.SASL.Username != "joe" || m.SASL.Method != "XCLIENT" {
		t.Errorf("login %+v", m.SASL)
	}
	if m, _ := load(t, s, sampleIDs["smtputf8.deferred"]); !m.SMTPUTF8 {
		t.Error("SMTPUTF8 is lost")
	}
	if m, _ := load(t, s, sampleIDs["dsn.deferred"]); m.Ret != queue.RetHeaders || m.EnvID != "QQ314159+" || m.Recipients[0].Notify != 14 {
		t.Errorf("DSN: %+v", m.Envelope)
	}
	if m, _ := load(t, s, sampleIDs["written-full.deferred"]); !m.Warned || m.Outcomes[0].Text == "" && m.Outcomes[1].Text == "" {
		t.Errorf("%+v", m)
	}
}

// reports are the samples with a report that Postfix did not send yet.
func TestReports(t *testing.T) {
	dir := t.TempDir()
	in := sample(t, "bounced-sent-deferred.deferred")
	put(t, filepath.Join(dir, "active/C18A0A1C770"), in, 0o700, time.Now())
	put(t, filepath.Join(dir, "bounce/C18A0A1C770"), []byte(`
<hard27@part.local>: host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no
recipient=hard27@part.local
offset=167
status=5.1.1
action=failed
diag_type=smtp
diag_text=550 5.1.1 no
mta_type=dns
mta_mname=127.0.0.1
reason=host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no

recipient="not there"@part.local
status=5.0.0
action=failed
reason=unknown

`), 0o600, time.Now())
	s := openStore(t, dir)
	if r, w := take(t, dir, s); r.Taken["active"] != 1 || len(w) > 0 {
		t.Errorf("%+v %q", r, w)
	}
	m, _ := load(t, s, "C18A0A1C770")
	want := []queue.Outcome{
		{},
		{State: queue.Failed, Action: "failed", DSN: "5.1.1", Text: "host 127.0.0.1[127.0.0.1] said: 550 5.1.1 no", RemoteMTA: "dns; 127.0.0.1", RemoteCode: "smtp; 550 5.1.1 no"},
		{State: queue.Done},
		{State: queue.Failed, Action: "failed", DSN: "5.0.0", Text: "unknown"},
	}
	if diff := cmp.Diff(want, m.Outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if r := m.Recipients[3]; r.Address != "not there@part.local" {
		t.Errorf("%+v", r)
	}
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestStates are files in other modes and places.
func TestStates(t *testing.T) {
	in := sample(t, "single.deferred")
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, tc := range []struct {
		name, path string
		mode       fs.FileMode
		at         time.Time
		queue      queue.Name
		next       time.Time
		expired    bool
	}{
		{"active", "active/8EB89A1C754", 0o700, soon, queue.Waiting, soon, false},
		{"active, of now", "active/8EB89A1C754", 0o700, time.Now(), queue.Incoming, time.Time{}, false},
		{"depth 3", "deferred/8/E/B/8EB89A1C754", 0o700, soon, queue.Waiting, soon, false},
		{"overdue", "deferred/8EB89A1C754", 0o700, time.Unix(1e9, 0), queue.Waiting, time.Unix(1e9, 0), false},
		{"expire", "deferred/8/8EB89A1C754", 0o710, soon, queue.Waiting, soon, true},
		{"flush", "deferred/8/8EB89A1C754", 0o740, soon, queue.Incoming, time.Time{}, false},
		{"hold", "hold/8EB89A1C754", 0o700, soon, queue.Held, time.Time{}, false},
		{"long ID", "deferred/0/4jXPkW0BzCz1XvGv", 0o700, soon, queue.Waiting, soon, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, tc.path), in, tc.mode, tc.at)
			s := openStore(t, dir)
			if r, w := take(t, dir, s); r.Total() != 1 || len(w) > 0 {
				t.Fatalf("%+v %q", r, w)
			}
			inf, ok := s.Lookup(filepath.Base(tc.path))
			if !ok || inf.Queue != tc.queue || !inf.Next.Equal(tc.next) || inf.Expired != tc.expired {
				t.Errorf("%v %+v", ok, inf)
			}
		})
	}
}

// TestLeft are files that Postfix would not deliver, and that are not believed.
func TestLeft(t *testing.T) {
	dir := t.TempDir()
	in := sample(t, "single.deferred")
	at := func(path string) string { return filepath.Join(dir, path) }
	now := time.Now()
	put(t, at("incoming/0A"), in, 0o600, now)
	put(t, at("incoming/0B"), in, 0o400, now)
	put(t, at("incoming/0C"), in[:len(in)-2], 0o700, now)
	put(t, at("incoming/0D"), nil, 0o700, now)
	put(t, at("incoming/a.b"), in, 0o700, now)
	put(t, at("incoming/0E"), in, 0o700, now)
	put(t, at("elsewhere"), in, 0o700, now)
	put(t, at("corrupt/0G"), in, 0o700, now)
	busy := at("incoming/0H")
	put(t, busy, in, 0o700, now)
	f, err := os.Open(busy)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(
		os.Chown(at("incoming/0E"), 1, 1), os.Symlink("../elsewhere", at("incoming/0F")), os.Link(at("elsewhere"), at("incoming/0I")),
		os.Mkdir(at("incoming/directory"), 0o700), syscall.Mkfifo(at("incoming/0J"), 0o700), syscall.Flock(int(f.Fd()), syscall.LOCK_SH),
	); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	s := openStore(t, dir)
	r, warnings := take(t, dir, s)
	if r.Total() != 0 || r.Left != len(before)+1 || len(warnings) != r.Left+1 {
		t.Errorf("%+v, %d warnings of %d", r, len(warnings), len(before)+1)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	text := strings.Join(warnings, "\n")
	for _, want := range []string{
		"incoming/0A is left there: its mode 0600 says that it is not complete", "0C is left there: corrupt queue file: it ends at offset",
		"0E is left there: it belongs to user 1", "0F is left there: too many levels of symbolic links",
		"0H is left there: a process of Postfix still works on it", "0I is left there: it has 2 names", "0J is left there: not a regular file",
		"a.b is left there: its name is no queue ID", "directory is left there: a directory that is none of the queue",
		"1 files that Postfix could not read are left in corrupt",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning %q in\n%s", want, text)
		}
	}
}

// TestEnded has nothing left to do for a message.
func TestEnded(t *testing.T) {
	dir := t.TempDir()
	in := bytes.Replace(sample(t, "written-minimal.incoming"), []byte("R"), []byte("D"), 1)
	put(t, filepath.Join(dir, "incoming/0A"), in, 0o700, time.Now())
	s := openStore(t, dir)
	if r, w := take(t, dir, s); r.Ended != 1 || s.Len() != 0 || len(files(t, dir)) != 0 {
		t.Errorf("%+v %q, %d messages, files %q", r, w, s.Len(), files(t, dir))
	}
}

// TestStaleLogs has logs without a message, and one of a message that is left.
func TestStaleLogs(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	put(t, filepath.Join(dir, "defer/0/0A"), []byte("x"), 0o600, now)
	put(t, filepath.Join(dir, "bounce/0B"), []byte("x"), 0o600, now)
	put(t, filepath.Join(dir, "bounce/0C"), []byte("x"), 0o600, now)
	put(t, filepath.Join(dir, "deferred/0/0C"), sample(t, "single.deferred"), 0o600, now)
	take(t, dir, openStore(t, dir))
	if diff := cmp.Diff([]string{"bounce/0C", "deferred/0/0C"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestSameID has the IDs of Postfix's files in use.
func TestSameID(t *testing.T) {
	dir := t.TempDir()
	const id = "8EB89A1C754"
	in := sample(t, "single.deferred")
	path := filepath.Join(dir, "incoming", id)
	put(t, path, in, 0o700, time.Now())
	s := openStore(t, dir)
	take(t, dir, s)
	// The same file again, as if it had not been removed: one message.
	put(t, path, in, 0o700, time.Now())
	take(t, dir, s)
	if s.Len() != 1 {
		t.Fatalf("%d messages", s.Len())
	}
	// Another message with this ID: both.
	other := bytes.Replace(in, []byte("sender@example.com"), []byte("xender@example.com"), 1)
	for range 2 {
		put(t, path, other, 0o700, time.Now())
		take(t, dir, s)
	}
	if s.Len() != 2 {
		t.Errorf("%d messages", s.Len())
	}
	if m, _ := load(t, s, id+"X"); m.Sender != "xender@example.com" {
		t.Errorf("sender %q", m.Sender)
	}
	if m, _ := load(t, s, id); m.Sender != "sender@example.com" {
		t.Errorf("sender %q", m.Sender)
	}
}

func newExporter(t testing.TB, dir string, s *queue.Store) *exporter {
	return &exporter{
		layout: layout{dir: dir, depths: map[string]int{"deferred": 1, "defer": 1}},
		store:  s, warn: 2 * time.Hour,
		say: func(format string, args ...any) { t.Errorf("export: "+format, args...) },
	}
}

// TestThereAndBack takes all samples over and gives them back. Files that
// cleanup(8) laid out are the same but for what our queue does not keep.
func TestThereAndBack(t *testing.T) {
	dir := spool(t)
	s := openStore(t, dir)
	take(t, dir, s)
	before := everything(t, s)
	if done, left, err := newExporter(t, dir, s).run(context.Background()); done != len(sampleIDs) || left != 0 || err != nil {
		t.Fatalf("%d done, %d left, %v", done, left, err)
	}
	if s.Len() != 0 {
		t.Errorf("%d messages stay", s.Len())
	}
	for _, path := range files(t, dir) {
		checkFile(t, filepath.Join(dir, path), path)
	}
	r, warnings := take(t, dir, s)
	if r.Total() != len(sampleIDs) || len(warnings) > 0 {
		t.Fatalf("%+v, %q", r, warnings)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Errorf("after the way there and back (-before +after):\n%s", diff)
	}
}

// checkFile says what Postfix would have against a file.
func checkFile(t *testing.T, full, path string) {
	t.Helper()
	info, err := os.Stat(full)
	if err != nil {
		t.Fatal(err)
	}
	queueFile := !slices.Contains(logNames, strings.Split(path, "/")[0])
	if !queueFile {
		if info.Mode() != 0o600 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		return
	}
	if info.Mode() != 0o700 {
		t.Errorf("%s: mode %v", path, info.Mode())
	}
	inode := fmt.Sprintf("%X", info.Sys().(*syscall.Stat_t).Ino)
	if name := info.Name(); name[5:] != inode {
		t.Errorf("%s: inode %s", path, inode)
	}
	b, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	m, err := queuefile.Parse(bytes.NewReader(b), int64(len(b)))
	if err == nil {
		err = m.Complete()
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

// everything is what is in the queue, but for its IDs.
func everything(t testing.TB, s *queue.Store) []string {
	t.Helper()
	var all []string
	for _, inf := range s.List() {
		m, content := load(t, s, inf.ID)
		all = append(all, fmt.Sprintf("%v %q %v %v %v %v %+v %+v", inf.Queue, content, m.Next.Unix(), m.Queued.Unix(), m.Warned, m.Expired, m.Envelope, m.Outcomes))
	}
	slices.Sort(all)
	return all
}

// TestSubmitted has files in the maildrop with the names that pickup(8) gives them: one
// whose message is in the queue, one with the name of another message, one whose message is
// not there; and one that is not renamed.
func TestSubmitted(t *testing.T) {
	dir := t.TempDir()
	in := sample(t, "sendmail-nonl.maildrop")
	m, err := queuefile.Parse(bytes.NewReader(in), int64(len(in)))
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir)
	for id, arrival := range map[string]time.Time{
		"8EB89A1C754": m.Arrival,
		"8EB89A1C755": m.Arrival.Add(time.Microsecond),
		"8EB89A1C756": {},
	} {
		put(t, filepath.Join(dir, "maildrop", id+"_"), in, 0o744, time.Now())
		if arrival.IsZero() {
			continue
		}
		w, err := s.NewImport(id)
		if err != nil {
			t.Fatal(err)
		}
		env := &queue.Envelope{Arrival: arrival, Recipients: []queue.Recipient{{Address: "a@b"}}}
		if err := w.CommitPast(context.Background(), env, &queue.Past{}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "maildrop", "8EB89A1C754"), in, 0o744, time.Now())
	take(t, dir, s)
	left, err := names(filepath.Join(dir, "maildrop"))
	slices.Sort(left)
	if diff := cmp.Diff([]string{"8EB89A1C754", "8EB89A1C755_", "8EB89A1C756_"}, left); err != nil || diff != "" {
		t.Errorf("%v, left in the maildrop (-want +got):\n%s", err, diff)
	}
}

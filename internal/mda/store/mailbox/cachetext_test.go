package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// testMessages returns the messages that package message is tested with.
func testMessages(t *testing.T) (texts []string) {
	for _, name := range []string{"bodystructure.txt", "envelope.txt"} {
		f, err := os.Open("../../../message/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r := bufio.NewScanner(f)
		r.Buffer(nil, 1<<20)
		isMessage := true
		for r.Scan() {
			if r.Text() == "" || r.Text()[0] == '#' {
				continue
			}
			if isMessage {
				text, err := strconv.Unquote(r.Text())
				if err != nil {
					t.Fatal(err)
				}
				texts = append(texts, text)
			}
			isMessage = !isMessage
		}
	}
	if len(texts) < 100 {
		t.Fatalf("only %d messages", len(texts))
	}
	return texts
}

// TestBodyOfBodyStructure makes BODY of the BODYSTRUCTURE of every message.
func TestBodyOfBodyStructure(t *testing.T) {
	for _, text := range testMessages(t) {
		s, err := message.Parse(strings.NewReader(text), message.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		structure := s.AppendBodyStructure(nil)
		if !validList(structure) || !validList(s.AppendEnvelope(nil)) {
			t.Errorf("not valid: %q", structure)
		}
		got, ok := appendBodyOf(nil, inner(structure))
		if want := s.AppendBody(nil); !ok || !bytes.Equal(got, want) {
			t.Errorf("%q:\ngot  %v %s\nwant %s", structure, ok, got, want)
		}
	}
}

// allTexts returns everything of a message that may be cached.
func allTexts(t *testing.T, m *Mailbox, uid uint32) string {
	t.Helper()
	msg, err := m.Message(uid)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(uid, err)
		}
	}
	var b []byte
	b, err = msg.AppendEnvelope(ctx, b)
	check(err)
	b, err = msg.AppendBody(ctx, append(b, '\n'))
	check(err)
	b, err = msg.AppendBodyStructure(ctx, append(b, '\n'))
	check(err)
	b, err = msg.AppendFields(ctx, append(b, '\n'), []string{"received", "SUBJECT", "To", "X-None", "Content-Type", "From"})
	check(err)
	b, err = msg.AppendFields(ctx, b, []string{"X-Other", "Subject"})
	check(err)
	sent, ok, err := msg.SentDate(ctx)
	check(err)
	received, err := msg.Received()
	check(err)
	size, err := msg.PhysicalSize()
	check(err)
	saved, err := msg.Saved()
	check(err)
	virtual, err := msg.VirtualSize()
	check(err)
	if !ok {
		sent = time.Time{}
	}
	return fmt.Sprintf("%s %v %v %v %v %d %d", b, sent.Format(time.RFC3339), ok, received.Unix(), saved.Unix() > 0, size, virtual)
}

// hideFiles renames the message files of an sdbox away, or back.
func hideFiles(t *testing.T, loc Location, hide bool) {
	t.Helper()
	from, to := loc.Dir, loc.Dir+"/../hidden"
	if !hide {
		from, to = to, from
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(from, "u.*"))
	if len(names) == 0 {
		t.Fatal("no files in ", from)
	}
	for _, name := range names {
		if err := os.Rename(name, filepath.Join(to, filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCachedTexts compares what is said of messages without a cache, as they get into it, from it
// without their files, and after the file was made anew. Once the values are
// added when they are asked for, once when the messages are saved.
func TestCachedTexts(t *testing.T) {
	texts := testMessages(t)
	for _, c := range []struct{ name, fields string }{
		{"asked for", "flags"},
		{"saved", "flags date.sent date.received date.save size.physical imap.envelope imap.bodystructure mime.parts guid " +
			"hdr.received hdr.subject hdr.to hdr.x-none hdr.content-type hdr.from hdr.x-other hdr.date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var log bytes.Buffer
			w.pool = NewPool(maillog.NewFunc(func(_ maillog.Level, text string) { fmt.Fprintln(&log, text) }))
			w.set.NeverCacheFields = "*"
			plain := w.create("plain")
			defer plain.Close()
			w.set.NeverCacheFields, w.set.CacheFields = "", c.fields
			m := w.create("cached")
			defer func() { m.Close() }()
			var want []string
			for i, text := range texts {
				if i%2 == 0 {
					text = strings.ReplaceAll(text, "\n", "\r\n")
				}
				opt := SaveOptions{Received: time.Unix(1700000000+int64(i), 0)}
				uid := save(t, plain, text, opt)
				save(t, m, text, opt)
				want = append(want, allTexts(t, plain, uid.UID))
			}
			compare := func(when string) {
				t.Helper()
				for i := range texts {
					if strings.Contains(when, "cache") && headerEnd([]byte(texts[i]), 0) == 0 {
						continue // a header without end is not cached: it may have been cut off
					}
					if got := allTexts(t, m, uint32(i+1)); got != want[i] {
						t.Errorf("%s: message %q:\ngot  %s\nwant %s", when, texts[i], got, want[i])
					}
				}
			}
			reopen := func() {
				m.Close()
				w.pool.Close()
				w.pool = NewPool(maillog.NewFunc(func(_ maillog.Level, text string) { fmt.Fprintln(&log, text) }))
				m = w.open("cached")
			}
			if c.name == "asked for" {
				if _, err := os.Stat(filepath.Join(m.Location().Dir, index.CacheName)); err == nil {
					t.Error("there is a cache that nobody asked for")
				}
				compare("first")
				compare("again")
			}
			reopen()
			hideFiles(t, m.Location(), true)
			compare("from the cache")
			reopen()
			m.Snapshot()
			m.view.View = m.b.values.View()
			m.b.values.Dropped(len(texts)) // have it made anew
			w.set.CachePurgeDeleted = 20
			m.b.set.CachePurgeDeleted = 20
			reopen()
			compare("from the new cache")
			hideFiles(t, m.Location(), false)
			if log.Len() > 0 {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// TestCacheTogether has sessions of two processes, as it were, look up and add values while
// messages come and go and the file is made anew.
func TestCacheTogether(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var log []string
	logger := maillog.NewFunc(func(_ maillog.Level, text string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, text)
	})
	w.pool = NewPool(logger)
	w.set.CachePurgeDeleted, w.set.CachePurgeMin, w.set.CacheFields = 5, 1, "flags"
	w.create("A").Close()
	other := *w
	other.pool = NewPool(logger)
	defer other.pool.Close()
	texts := testMessages(t)[:60]
	want := make([]string, len(texts))
	for i, text := range texts {
		s, err := message.Parse(strings.NewReader(text), message.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		want[i] = string(s.AppendBodyStructure(s.AppendEnvelope(nil)))
	}
	var wg sync.WaitGroup
	for n, world := range []*world{w, w, &other} {
		wg.Go(func() {
			for round := range 8 {
				if err := cacheRound(world, texts, want, n+round); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(log) > 0 {
		t.Errorf("log: %q", log)
	}
}

// cacheRound saves a message, compares what is said of others and expunges one.
func cacheRound(w *world, texts, want []string, round int) error {
	m, err := w.pool.Open(ctx, w.loc("A"), &w.set)
	if err != nil {
		return err
	}
	defer m.Close()
	for i := range texts {
		// The UID tells which text it is: each is saved with one that has its number.
		s, err := m.Save(ctx, SaveOptions{Keywords: []string{fmt.Sprint("k", i)}})
		if err != nil {
			return err
		}
		if _, err := s.Write([]byte(texts[i])); err != nil {
			return err
		}
		if _, err := s.Commit(ctx); err != nil {
			return err
		}
	}
	snap, err := m.Sync(ctx)
	if err != nil {
		return err
	}
	var gone []uint32
	for i := range snap.Len() {
		text, err := strconv.Atoi(snap.Keywords(i)[0][1:])
		if err != nil {
			return err
		}
		if (i+round)%7 == 0 {
			gone = append(gone, snap.UID(i))
		}
		if err := cacheCompare(m, snap.UID(i), want[text]); err != nil && !errors.Is(err, ErrExpunged) {
			return err
		}
	}
	m.CommitCache(ctx)
	if err := m.Expunge(ctx, gone); err != nil {
		return err
	}
	return m.FillCache(ctx)
}

func cacheCompare(m *Mailbox, uid uint32, want string) error {
	msg, err := m.Message(uid)
	if err != nil {
		return err
	}
	got, err := msg.AppendEnvelope(ctx, nil)
	if err == nil {
		got, err = msg.AppendBodyStructure(ctx, got)
	}
	if err == nil && string(got) != want {
		err = fmt.Errorf("uid %d: got %s, want %s", uid, got, want)
	}
	return err
}

// FuzzCachedLists gives cached structures to those who use them.
func FuzzCachedLists(f *testing.F) {
	f.Add([]byte(`"text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 95 13 NIL NIL NIL NIL`))
	f.Add([]byte(`("text" "plain" NIL NIL NIL "7bit" 1 1 NIL NIL NIL NIL)("message" "rfc822" NIL NIL NIL "7bit" 9 ` +
		`(NIL NIL NIL NIL NIL NIL NIL NIL NIL {3}` + "\r\nabc" + `) ("text" "plain" NIL NIL NIL "7bit" 1 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list := append(append([]byte{'('}, data...), ')')
		body, ok := appendBodyOf(nil, data)
		if ok && validList(list) && !validList(body) {
			t.Fatalf("BODY of a valid list is none: %q", body)
		}
		appendField(nil, nil, data)
		if s, err := message.ParseParts(data); err == nil {
			validPart(&s.Root)
		}
	})
}

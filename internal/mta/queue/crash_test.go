package queue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

func openMem(t testing.TB, d *memDisk, lim limits) *Store {
	t.Helper()
	s, err := open(d, nil, lim, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A life is what a client and the scheduler were told about one message, as
// numbers of disk operations.
type life struct {
	id, content string
	begun       int // before Commit
	queued      int // Commit returned; 0 if it failed
	done        int // Record of the first recipient returned
	removed     int // Remove returned
	removing    int // Remove was called
}

// workload commits, defers, holds and removes messages of several sizes, with
// several sessions at once, and says when what was promised.
func workload(t *testing.T, s *Store, d *memDisk, sessions, each int) []*life {
	var mu sync.Mutex
	var all []*life
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			var waiting []*life
			for j := range each {
				l := &life{content: fmt.Sprintf("%d/%d %s", i, j, text(r.IntN(6000))), begun: d.count()}
				if j%8 == 7 {
					l.content += text(9 << 10) // a file of its own
				}
				mu.Lock()
				all = append(all, l)
				mu.Unlock()
				id, err := commitMessage(s, envelope("a@x", "b@x"), l.content)
				l.id = id
				if err != nil {
					continue
				}
				l.queued = d.count()
				waiting = append(waiting, l)
				m, err := s.Load(id)
				if err != nil {
					t.Errorf("load %s: %v", id, err)
					return
				}
				m.Outcomes[0].State = Done
				s.Record(m, 0)
				l.done = recorded(s, d)
				if j%3 == 0 {
					m.Outcomes[1].Text = "later"
					s.Defer(m, time.Unix(1, 0))
				}
				if j%3 > 0 || r.IntN(2) == 0 {
					k := r.IntN(len(waiting))
					old := waiting[k]
					waiting = append(waiting[:k], waiting[k+1:]...)
					old.removing = d.count()
					if err := s.Delete(old.id); err != nil {
						t.Error(err)
						return
					}
					old.removed = recorded(s, d)
				}
			}
		})
	}
	wg.Wait()
	return all
}

// recorded returns the number of operations, or 0 if the disk took nothing and
// outcomes are in memory only.
func recorded(s *Store, d *memDisk) int {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if len(s.tail.lost) > 0 {
		return 0
	}
	return d.count()
}

// A crash is what survives, for the checks of [verify].
type crash struct {
	at    int  // operations that happened
	power bool // what was not synced may be lost
}

// verify opens the disk and compares it with what was promised.
func verify(t *testing.T, d *memDisk, all []*life, c crash) {
	t.Helper()
	s, err := open(d, nil, small, nil)
	if err != nil {
		t.Fatalf("crash at %d: %v", c.at, err)
	}
	defer s.Close()
	found := 0
	for _, l := range all {
		if _, ok := s.Lookup(l.id); l.id == "" || !ok {
			if l.queued != 0 && l.queued <= c.at && (l.removing == 0 || l.removing > c.at) {
				t.Fatalf("crash at %d: message %s, acknowledged at %d, is lost", c.at, l.id, l.queued)
			}
			continue
		}
		found++
		if l.begun > c.at {
			t.Fatalf("crash at %d: message %s from the future", c.at, l.id)
		}
		if !c.power && l.removed != 0 && l.removed <= c.at {
			t.Fatalf("crash at %d: message %s, removed at %d, came back", c.at, l.id, l.removed)
		}
		m, err := s.Load(l.id)
		if err != nil {
			t.Fatalf("crash at %d: %s: %v", c.at, l.id, err)
		}
		if !c.power && l.done != 0 && l.done <= c.at && m.Outcomes[0].State != Done {
			t.Fatalf("crash at %d: %s would be delivered twice", c.at, l.id)
		}
		content, err := s.Content(m)
		if err != nil {
			t.Fatalf("crash at %d: %s: %v", c.at, l.id, err)
		}
		b, err := io.ReadAll(content.NewReader())
		content.Close()
		if err != nil || string(b) != l.content {
			t.Fatalf("crash at %d: %s: content differs (%v)", c.at, l.id, err)
		}
	}
	if s.Len() != found {
		t.Fatalf("crash at %d: %d messages, %d known", c.at, s.Len(), found)
	}
}

// TestCrashAfterEveryWrite opens the queue as it is after each operation of a
// workload, and after a part of it.
func TestCrashAfterEveryWrite(t *testing.T) {
	d := newMemDisk()
	s := openMem(t, d, small)
	all := workload(t, s, d, 4, 40)
	s.Close()
	for n := range d.ops {
		verify(t, d.at(n, nil), all, crash{at: n})
		op := d.ops[n]
		if op.do != "write" || len(op.data) < 2 {
			continue
		}
		torn := d.at(n, nil)
		for name, f := range d.at(n+1, nil).files {
			// The file that this operation changes, with half of it.
			old := torn.files[name]
			if old == nil || string(old.data) == string(f.data) {
				continue
			}
			torn.apply(diskOp{do: "write", file: old, off: op.off, data: op.data[:len(op.data)/2]})
		}
		verify(t, torn, all, crash{at: n})
	}
}

// TestPowerFailure loses any of the blocks that were not synced.
func TestPowerFailure(t *testing.T) {
	d := newMemDisk()
	s := openMem(t, d, small)
	all := workload(t, s, d, 4, 40)
	s.Close()
	for n := range d.ops {
		r := rand.New(rand.NewPCG(uint64(n), 2))
		once := d.at(n, r)
		verify(t, once, all, crash{at: n, power: true})
		// What the first start settled must stay so.
		verify(t, once, all, crash{at: n, power: true})
	}
}

// TestFailedSync lets syncs fail: what they covered is refused, and nothing
// else is lost.
func TestFailedSync(t *testing.T) {
	for _, do := range []string{"sync", "write"} {
		t.Run(do, func(t *testing.T) {
			d := newMemDisk()
			s := openMem(t, d, small)
			r := rand.New(rand.NewPCG(3, 3))
			failed, used := make(map[*memFile]bool), make(map[*memFile]bool)
			d.fail = func(op diskOp) error {
				if op.do == "write" && op.off > 0 && len(op.file.data) >= int(small.segment) {
					used[op.file] = true
				}
				if !used[op.file] || op.off == 0 && op.do == "write" {
					return nil // not in use as a segment
				}
				if failed[op.file] && op.do == "sync" {
					t.Error("a file was synced again after a failed sync")
				}
				if op.do == do && r.IntN(30) == 0 {
					failed[op.file] = do == "sync"
					return syscall.EIO
				}
				return nil
			}
			all := workload(t, s, d, 4, 60)
			d.mu.Lock()
			d.fail = nil
			d.mu.Unlock()
			refused := 0
			for _, l := range all {
				if l.queued == 0 {
					refused++
					if _, ok := s.Lookup(l.id); ok {
						t.Errorf("%s was refused and is queued", l.id)
					}
				}
			}
			s.Close()
			if refused == 0 || refused == len(all) {
				t.Fatalf("%d of %d refused", refused, len(all))
			}
			verify(t, d, all, crash{at: len(d.ops)})
			for n := len(d.ops) / 2; n < len(d.ops); n += 7 {
				verify(t, d.at(n, nil), all, crash{at: n})
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	d := newMemDisk()
	// What is left to outcomes must outlast the syncs meanwhile: after each,
	// the log goes on with a new block.
	lim := small
	lim.reserve = 8 * blockSize
	s := openMem(t, d, lim)
	d.mu.Lock()
	d.room = 5 * lim.segment
	d.mu.Unlock()
	var ids []string
	var err error
	for range 1000 {
		var id string
		if id, err = commitMessage(s, envelope("a@x"), text(3000)); err != nil {
			break
		}
		ids = append(ids, id)
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("after %d messages: %v, want ErrNoSpace", len(ids), err)
	}
	if _, err := commitMessage(s, envelope("a@x"), text(100<<10)); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("large message: %v, want ErrNoSpace", err)
	}
	if s.Len() != len(ids) {
		t.Fatalf("%d messages queued, %d acknowledged", s.Len(), len(ids))
	}
	// Deliveries go on, and what they say survives.
	for _, id := range ids[:len(ids)/2] {
		if err := s.Delete(id); err != nil {
			t.Fatal(err)
		}
	}
	s2 := openMem(t, d.at(d.count(), nil), lim)
	if s2.Len() != s.Len() {
		t.Errorf("%d messages after a crash, want %d", s2.Len(), s.Len())
	}
	s2.Close()
	// Delivered mail makes room, once the keeper has come round to it.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err = commitMessage(s, envelope("a@x"), text(3000)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no room though half was delivered:", err)
		}
		s.keep.wake()
	}
	s.Close()
}

// TestFullFileSystem is TestFullDisk on a real file system: a file size limit
// makes the kernel refuse writes.
func TestFullFileSystem(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := openTest(t, dir, small)
	id := mustCommit(t, s, envelope("a@x"), text(3000))
	full := old
	full.Cur = 20 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		t.Fatal(err)
	}
	_, err := commitMessage(s, envelope("a@x"), text(40<<10))
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("%v, want ErrNoSpace", err)
	}
	s.Close()
	s = openTest(t, dir, small)
	defer s.Close()
	if s.Len() != 1 || contentOf(t, s, mustLoad(t, s, id)) != text(3000) {
		t.Error("an acknowledged message is lost")
	}
}

// TestKill kills a process that queues and removes messages, again and again.
// What it said to have done before it died must be so.
func TestKill(t *testing.T) {
	if dir := os.Getenv("QUEUE_TEST_KILL"); dir != "" {
		killed(t, dir)
		return
	}
	dir := t.TempDir()
	queued := make(map[string]bool)
	for round := range 6 {
		said := runAndKill(t, dir, 40+round*60)
		removing := make(map[string]bool)
		for _, line := range said {
			verb, id, _ := strings.Cut(line, " ")
			switch verb {
			case "queued":
				queued[id] = true
			case "remove":
				removing[id] = true
			case "removed":
				delete(queued, id)
				delete(removing, id)
			}
		}
		d, err := openDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := open(d, nil, small, nil)
		if err != nil {
			t.Fatal(err)
		}
		for id := range queued {
			if _, ok := s.Lookup(id); !ok && !removing[id] {
				t.Errorf("round %d: %s was acknowledged and is lost", round, id)
			}
		}
		queued = make(map[string]bool)
		for _, inf := range s.List() {
			m := mustLoad(t, s, inf.ID)
			if got := contentOf(t, s, m); got != text(len(got)) || int64(len(got)) != inf.Size {
				t.Errorf("round %d: %s: content differs", round, inf.ID)
			}
			if m.EnvID == "gone" {
				t.Errorf("round %d: %s was removed and came back", round, inf.ID)
			}
			queued[inf.ID] = true
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d.close()
	}
}

// runAndKill runs the child until it said so many lines.
func runAndKill(t *testing.T, dir string, lines int) []string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "QUEUE_TEST_KILL="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		said = append(said, sc.Text())
		if len(said) == lines {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
	if len(said) < lines {
		t.Fatalf("the child said only %d lines: %q", len(said), said)
	}
	return said
}

// killed is the child.
func killed(t *testing.T, dir string) {
	s := openTest(t, dir, small)
	var mu sync.Mutex
	say := func(verb, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(verb, id)
	}
	for i := range 8 {
		go func() {
			for j := i; ; j++ {
				id, err := commitMessage(s, envelope("a@x"), text(j*977%12000))
				if err != nil {
					panic(err)
				}
				say("queued", id)
				if j%2 == 0 {
					say("remove", id)
					if err := s.Delete(id); err != nil {
						panic(err)
					}
					say("removed", id)
				}
			}
		}()
	}
	select {}
}

// FuzzOpen gives the reader segments with anything in them.
func FuzzOpen(f *testing.F) {
	d := newMemDisk()
	s, err := open(d, nil, small, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i := range 3 {
		id, err := commitMessage(s, envelope("a@x", "b@x"), text(i*500))
		if err != nil {
			f.Fatal(err)
		}
		m, _ := s.Load(id)
		m.Outcomes[0] = Outcome{State: Failed, Text: "no"}
		if i > 0 {
			s.Defer(m, time.Unix(1, 0))
		} else {
			s.Remove(m)
		}
	}
	s.Close()
	for name, file := range d.files {
		if strings.HasSuffix(name, ".seg") && len(file.data) > blockSize {
			f.Add(file.data[blockSize:3*blockSize], uint16(64), byte(1))
		}
	}
	f.Fuzz(func(t *testing.T, records []byte, at uint16, flip byte) {
		// The fuzzer cannot guess checksums: it is given the tag, and
		// changes of a valid record have theirs put right.
		d := newMemDisk()
		data := putSegmentHead(1, tagOf(records), 1)
		data = append(data, records...)
		if int(at) < len(records) {
			data[blockSize+int(at)] ^= flip
		}
		repair(data[blockSize:])
		d.files[fileName(1, ".seg")] = &memFile{d: d, data: data}
		s, err := open(d, nil, small, maillog.New(nil, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, inf := range s.List() {
			m, err := s.Load(inf.ID)
			if err != nil {
				continue
			}
			if c, err := s.Content(m); err == nil {
				io.Copy(io.Discard, c.NewReader())
				c.Close()
			}
		}
		s.Close()
	})
}

func tagOf(b []byte) uint64 {
	if len(b) < headerSize {
		return 1
	}
	h, _ := parseHeader(b)
	return max(h.tag, 1)
}

// repair sets the checksum of the records at the beginning of b.
func repair(b []byte) {
	for len(b) >= headerSize {
		h, ok := parseHeader(b)
		if !ok || h.size() > int64(len(b)) {
			return
		}
		h.put(b)
		b = b[h.size():]
	}
}

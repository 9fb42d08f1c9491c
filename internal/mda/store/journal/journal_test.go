package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A place is a directory with mail and its journal.
type place struct {
	t    *testing.T
	top  string
	dir  string
	said []string // what was logged
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, top: t.TempDir()}
	p.dir = filepath.Join(p.top, "box")
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) log() *maillog.Logger {
	return maillog.NewFunc(func(_ maillog.Level, text string) { p.said = append(p.said, text) })
}

func (p *place) open() *Journal {
	p.t.Helper()
	j, err := Open(p.top, p.log())
	if err != nil {
		p.t.Fatal(err)
	}
	return j
}

// kill leaves the journal as a killed process does.
func (j *Journal) kill() {
	j.mu.Lock()
	j.closed = true
	if j.timer != nil {
		j.timer.Stop()
	}
	j.mu.Unlock()
	j.turns.Wait()
	for _, f := range j.files {
		f.f.Close()
	}
	j.dir.Close()
}

// restart has the journals say that they are of another run of the kernel, and recovers them.
func (p *place) restart() {
	p.t.Helper()
	names, err := filepath.Glob(filepath.Join(p.top, DirName, "*.[01]"))
	if err != nil || len(names) == 0 {
		p.t.Fatalf("no journals: %v", err)
	}
	for _, name := range names {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		b := make([]byte, headerSize)
		if _, err := f.ReadAt(b, 0); err != nil {
			p.t.Fatal(err)
		}
		h, ok := decodeHeader(b)
		if !ok {
			p.t.Fatalf("%s has no header", name)
		}
		h.boot[0]++
		if _, err := f.WriteAt(h.encode(), 0); err != nil {
			p.t.Fatal(err)
		}
		f.Close()
	}
	p.recover()
}

func (p *place) recover() {
	p.t.Helper()
	if err := Recover(p.top, p.log()); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) read(name string) string {
	b, err := os.ReadFile(p.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// record records a part of a file, from an offset to its end.
func (p *place) record(j *Journal, name string, from int64, isNew, isLog bool) {
	p.t.Helper()
	p.with(name, func(f *os.File, size int64) error {
		return j.Data(&Range{Dir: p.dir, Name: name, FD: int(f.Fd()), From: from, To: size, New: isNew, Log: isLog})
	})
}

// announce records what will be appended to a log.
func (p *place) announce(j *Journal, name, text string) {
	p.t.Helper()
	p.with(name, func(f *os.File, size int64) error {
		return j.Data(&Range{Dir: p.dir, Name: name, FD: int(f.Fd()), From: size, To: size + int64(len(text)), Bytes: [][]byte{[]byte(text)}, Log: true})
	})
}

// cut takes back what was recorded of a file.
func (p *place) cut(j *Journal, name string, from int64) {
	p.t.Helper()
	p.with(name, func(f *os.File, _ int64) error {
		return j.Cut(&Range{Dir: p.dir, Name: name, FD: int(f.Fd()), From: from})
	})
}

// cutLog is cut for a log.
func (p *place) cutLog(j *Journal, name string, from int64) {
	p.t.Helper()
	p.with(name, func(f *os.File, _ int64) error {
		return j.Cut(&Range{Dir: p.dir, Name: name, FD: int(f.Fd()), From: from, Log: true})
	})
}

func (p *place) with(name string, do func(f *os.File, size int64) error) {
	p.t.Helper()
	f, err := os.Open(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil {
		err = do(f, st.Size())
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) sync(j *Journal) {
	p.t.Helper()
	if err := j.Sync(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) rename(from, to string) {
	p.t.Helper()
	if err := os.Rename(p.path(from), p.path(to)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) truncate(name string, size int64) {
	p.t.Helper()
	if err := os.Truncate(p.path(name), size); err != nil {
		p.t.Fatal(err)
	}
}

const logHead = "\x01\x03\x28\x00index-id-and-number-and-the-rest"

// What a power failure took of files is there again, and nothing else is changed.
func TestRecover(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(p *place, j *Journal) // ends with what the power failure leaves
		want   map[string]string
		says   string // a log line that there must be
		kept   bool   // the journal is kept for the administrator
		living bool   // the computer was not restarted
	}{
		{
			name: "a new file lost its content",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				p.rename("temp", "u.1")
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				p.truncate("u.1", 0)
			},
			want: map[string]string{"u.1": "message", "temp": "(none)"},
		},
		{
			name: "a new file is zeros",
			do: func(p *place, j *Journal) {
				p.write("temp", strings.Repeat("message", 1000))
				p.record(j, "temp", 0, true, false)
				p.rename("temp", "u.1")
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				p.truncate("u.1", 5000)
				p.truncate("u.1", 7000)
			},
			want: map[string]string{"u.1": strings.Repeat("message", 1000)},
		},
		{
			name: "a new file is missing",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				os.Remove(p.path("temp"))
			},
			want: map[string]string{"u.1": "message", "temp": "(none)"},
		},
		{
			name: "a new file has its first name",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				p.truncate("temp", 3)
			},
			want: map[string]string{"u.1": "message", "temp": "(none)"},
		},
		{
			name: "a large file, flushed by itself, has its first name",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
			},
			want: map[string]string{"u.1": "message", "temp": "(none)"},
		},
		{
			name: "a link is missing",
			do: func(p *place, j *Journal) {
				p.write("u.1", "message")
				p.record(j, "u.1", 0, true, false)
				j.Placed(p.dir, "u.1", "u.1")
				p.sync(j)
				os.Remove(p.path("u.1"))
			},
			want: map[string]string{"u.1": "message"},
		},
		{
			name: "nobody was told of a new file",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				p.sync(j)
				os.Remove(p.path("temp"))
			},
			want: map[string]string{"temp": "(none)"},
		},
		{
			name: "nobody was told of a new file, but it has its name",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				p.sync(j)
				p.rename("temp", "u.1")
				p.truncate("u.1", 0)
			},
			want: map[string]string{"u.1": "message"},
		},
		{
			name: "a message was expunged",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				p.rename("temp", "u.1")
				j.Placed(p.dir, "temp", "u.1")
				j.Removed(p.dir, "u.1")
				p.sync(j)
				os.Remove(p.path("u.1"))
			},
			want: map[string]string{"u.1": "(none)"},
		},
		{
			name: "a message was expunged, and the computer goes on",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				p.rename("temp", "u.1")
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				os.Remove(p.path("u.1")) // by another process
			},
			want:   map[string]string{"u.1": "(none)"},
			living: true,
		},
		{
			name: "another message got the name",
			do: func(p *place, j *Journal) {
				p.write("temp", "message")
				p.record(j, "temp", 0, true, false)
				j.Placed(p.dir, "temp", "u.1")
				p.sync(j)
				os.Remove(p.path("temp"))
				p.write("u.1", "another message")
			},
			want: map[string]string{"u.1": "another message"},
			says: "another file is there", kept: true,
		},
		{
			name: "a log lost its end",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.write("log", logHead+"onetwo")
				p.record(j, "log", int64(len(logHead))+3, false, true)
				p.sync(j)
				p.truncate("log", int64(len(logHead))+2)
			},
			want: map[string]string{"log": logHead + "onetwo"},
		},
		{
			name: "a log got its second name",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.rename("log", "log.2")
				p.truncate("log.2", int64(len(logHead)))
				p.write("log", logHead)
			},
			want: map[string]string{"log.2": logHead + "one", "log": logHead},
		},
		{
			name: "a log was replaced by another with its inode",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.write("log", strings.Replace(logHead, "number", "NUMBER", 1)) // truncates
				p.write("log", strings.Replace(logHead, "index-id", "INDEX-ID", 1))
			},
			want: map[string]string{"log": strings.Replace(logHead, "index-id", "INDEX-ID", 1)},
		},
		{
			name: "a log lacks more than was recorded",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"onetwo")
				p.record(j, "log", int64(len(logHead))+3, false, true)
				p.sync(j)
				p.truncate("log", int64(len(logHead))+1)
			},
			want: map[string]string{"log": logHead + "o"},
			says: "it ends at", kept: true,
		},
		{
			name: "a log was written to without recovering",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.truncate("log", int64(len(logHead)))
				p.write("log", logHead+"two")
			},
			want: map[string]string{"log": logHead + "two"},
			says: "says something else", kept: true,
		},
		{
			name: "a log was written to, and the computer goes on",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.write("log", logHead+"two")
			},
			want:   map[string]string{"log": logHead + "two"},
			living: true,
		},
		{
			name: "a message was cut off and another written there",
			do: func(p *place, j *Journal) {
				p.write("m.1", "onetwo")
				p.record(j, "m.1", 3, false, false)
				p.sync(j)
				p.cut(j, "m.1", 3)
				p.write("m.1", "oneTHREE") // the same inode
			},
			want: map[string]string{"m.1": "oneTHREE"},
		},
		{
			name: "a message was cut off, another written and recorded there",
			do: func(p *place, j *Journal) {
				p.write("m.1", "onetwo")
				p.record(j, "m.1", 3, false, false)
				p.sync(j)
				p.cut(j, "m.1", 3)
				p.write("m.1", "oneTHREE") // the same inode
				p.record(j, "m.1", 3, false, false)
				p.sync(j)
				p.truncate("m.1", 3)
			},
			want: map[string]string{"m.1": "oneTHREE"},
		},
		{
			name: "recorded before it was written, and not written",
			do: func(p *place, j *Journal) {
				p.write("log", logHead)
				p.announce(j, "log", "one")
				p.sync(j)
			},
			want: map[string]string{"log": logHead + "one"},
		},
		{
			name: "recorded before it was written, and killed",
			do: func(p *place, j *Journal) {
				p.write("log", logHead)
				p.announce(j, "log", "one")
				p.sync(j)
			},
			want:   map[string]string{"log": logHead},
			living: true,
		},
		{
			name: "recorded before it was written, which failed",
			do: func(p *place, j *Journal) {
				p.write("log", logHead)
				p.announce(j, "log", "one")
				p.sync(j)
				p.cutLog(j, "log", int64(len(logHead)))
				p.write("log", logHead+"two")
			},
			want: map[string]string{"log": logHead + "two"},
		},
		{
			name: "the file before a message is missing",
			do: func(p *place, j *Journal) {
				p.write("m.1", "onetwothree")
				p.record(j, "m.1", 6, false, false)
				p.sync(j)
				p.truncate("m.1", 2)
			},
			want: map[string]string{"m.1": "on\x00\x00\x00\x00three"},
		},
		{
			name: "the mailbox was deleted",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				os.RemoveAll(p.dir)
			},
		},
		{
			name: "nothing is missing",
			do: func(p *place, j *Journal) {
				p.write("log", logHead+"one")
				p.record(j, "log", int64(len(logHead)), false, true)
				p.sync(j)
				p.write("log", logHead+"onemore")
			},
			want: map[string]string{"log": logHead + "onemore"},
		},
		{
			name: "a symbolic link has the name",
			do: func(p *place, j *Journal) {
				p.write("m.1", "onetwo")
				p.record(j, "m.1", 3, false, false)
				p.sync(j)
				p.rename("m.1", "elsewhere")
				p.truncate("elsewhere", 3)
				if err := os.Symlink("elsewhere", p.path("m.1")); err != nil {
					p.t.Fatal(err)
				}
			},
			want: map[string]string{"elsewhere": "one"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			j := p.open()
			tt.do(p, j)
			j.kill()
			if tt.living {
				p.recover()
			} else {
				p.restart()
			}
			for name, want := range tt.want {
				if got := p.read(name); got != want {
					t.Errorf("%s is %.60q, want %.60q", name, got, want)
				}
			}
			said := strings.Join(p.said, "\n")
			if !strings.Contains(said, tt.says) || tt.says == "" && strings.Contains(said, "not changed") {
				t.Errorf("logged %q, want %q", said, tt.says)
			}
			left, err := filepath.Glob(filepath.Join(p.top, DirName, "*.*"))
			if err != nil || len(left) > 0 != tt.kept {
				t.Errorf("left of the journal: %q", left)
			}
			p.said = nil
			p.recover() // once more does nothing
			for name, want := range tt.want {
				if got := p.read(name); got != want {
					t.Errorf("%s is %.60q after another recovery, want %.60q", name, got, want)
				}
			}
			if len(p.said) > 0 {
				t.Errorf("the second recovery says %q", p.said)
			}
		})
	}
}

// Batches of many sessions, over several turns, are all there.
func TestManySessions(t *testing.T) {
	p := newPlace(t)
	j := p.open()
	const sessions, each = 16, 300
	text := strings.Repeat("x", 20<<10)
	var wg sync.WaitGroup
	for s := range sessions {
		wg.Go(func() {
			name := fmt.Sprint("m.", s)
			f, err := os.Create(p.path(name))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for i := range each {
				from := int64(i * len(text))
				if _, err := f.WriteString(text); err != nil {
					t.Error(err)
					return
				}
				err := j.Data(&Range{Dir: p.dir, Name: name, FD: int(f.Fd()), From: from, To: from + int64(len(text))})
				if err == nil {
					err = j.Sync()
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if j.h.generation < 2 {
		t.Errorf("generation %d after %d MB: no turns", j.h.generation, sessions*each*len(text)>>20)
	}
	j.turns.Wait()
	j.timer.Stop() // what follows stays in the journal
	for s := range sessions {
		name := fmt.Sprint("m.", s)
		p.write(name, strings.Repeat(text, each)+"end")
		p.record(j, name, int64(each*len(text)), false, false)
	}
	p.sync(j)
	j.kill()
	for s := range sessions {
		p.truncate(fmt.Sprint("m.", s), int64(each*len(text)))
	}
	p.restart()
	for s := range sessions {
		if got := p.read(fmt.Sprint("m.", s)); got != strings.Repeat(text, each)+"end" {
			t.Errorf("m.%d has %d bytes", s, len(got))
		}
	}
}

// A journal that cannot be written flushes the file system instead, and says so once.
func TestBroken(t *testing.T) {
	p := newPlace(t)
	j := p.open()
	for _, f := range j.files {
		f.f.Close()
	}
	for i := range 3 {
		p.write("log", logHead+strings.Repeat("one", i))
		p.record(j, "log", int64(len(logHead)), false, true)
		p.sync(j)
	}
	if !j.Broken() || len(p.said) != 1 {
		t.Errorf("broken: %v, logged %q", j.Broken(), p.said)
	}
	j.kill()
}

// Two processes have their own journals, and do not recover each other's.
func TestTwoProcesses(t *testing.T) {
	p := newPlace(t)
	a, b := p.open(), p.open()
	p.write("log", logHead+"one")
	p.record(a, "log", int64(len(logHead)), false, true)
	p.sync(a)
	if err := Recover(p.top, p.log()); err != nil {
		t.Fatal(err)
	}
	if names, _ := filepath.Glob(filepath.Join(p.top, DirName, "*.[01]")); len(names) != 4 {
		t.Errorf("files are %q", names)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if names, _ := filepath.Glob(filepath.Join(p.top, DirName, "*.[01]")); len(names) != 0 {
		t.Errorf("left are %q", names)
	}
}

// A directory that others may write to is not believed.
func TestForeignDirectory(t *testing.T) {
	p := newPlace(t)
	path := filepath.Join(p.top, DirName)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Recover(p.top, p.log()); err == nil || !strings.Contains(err.Error(), "mode 777") {
		t.Error(err)
	}
	os.Remove(path)
	if err := os.Symlink(p.dir, path); err != nil {
		t.Fatal(err)
	}
	if err := Recover(p.top, p.log()); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		t.Error(err)
	}
}

// FuzzRecover recovers any bytes as a journal. Nothing outside of the directory is touched.
func FuzzRecover(f *testing.F) {
	h := header{generation: 1, salt: 7}
	for _, r := range []record{
		{kind: kindData, flags: bitNew, dir: "box", name: "temp", data: []byte("message")},
		{kind: kindPlace, dir: "box", name: "temp", to: "u.1"},
		{kind: kindRemove, dir: "box", name: "u.1"},
		{kind: kindData, flags: bitLog, dir: "box", name: "log", off: 5, data: []byte("text")},
		{kind: kindData, dir: "../out", name: "victim", data: []byte("text")},
		{kind: kindData, dir: "box", name: "../../out/victim", data: []byte("text")},
	} {
		f.Add(append(r.appendHead(nil, len(r.data)), r.data...))
	}
	f.Fuzz(func(t *testing.T, records []byte) {
		root := t.TempDir()
		top, out := filepath.Join(root, "top"), filepath.Join(root, "out")
		for _, dir := range []string{top, out, filepath.Join(top, "box"), filepath.Join(top, DirName)} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		victim := filepath.Join(out, "victim")
		if err := os.WriteFile(victim, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b := append(h.encode(), sealBatch(append(make([]byte, batchHead), records...), h.salt)...)
		if err := os.WriteFile(filepath.Join(top, DirName, "1-x.0"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = Recover(top, maillog.NewFunc(func(maillog.Level, string) {}))
		if got, err := os.ReadFile(victim); err != nil || len(got) > 0 {
			t.Errorf("a file outside has %q, %v", got, err)
		}
		if names, _ := os.ReadDir(out); len(names) != 1 {
			t.Errorf("there are %v outside", names)
		}
	})
}

// FuzzBatches reads any bytes as a file.
func FuzzBatches(f *testing.F) {
	h := header{generation: 1, salt: 7}
	f.Add(append(h.encode(), sealBatch(append(make([]byte, batchHead), "text"...), h.salt)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		decodeHeader(b)
		total := 0
		err := eachBatch(bytes.NewReader(b), &h, func(records []byte) error {
			total += len(records)
			return nil
		})
		if err != nil || total > len(b) {
			t.Errorf("%d bytes of records in %d, %v", total, len(b), err)
		}
	})
}

// TestHold checks that a turn waits for what is recorded and not written yet.
func TestHold(t *testing.T) {
	p := newPlace(t)
	j := p.open()
	defer j.Close()
	p.write("log", logHead)
	h := j.Hold()
	p.announce(j, "log", "one")
	p.sync(j)
	j.swap()
	time.Sleep(50 * time.Millisecond) // it would be over soon
	if !j.ending.Load() {
		t.Error("the journal was given up")
	}
	p.write("log", logHead+"one")
	h.Release()
	j.turns.Wait()
	if j.ending.Load() {
		t.Error("the turn did not end")
	}
}

// TestHoldKept checks that whoever writes after a sync is told when the journal has nothing of it.
func TestHoldKept(t *testing.T) {
	p := newPlace(t)
	j := p.open()
	defer j.Close()
	p.write("log", logHead)
	h := j.Hold()
	p.announce(j, "log", "one")
	p.sync(j)
	if !h.Kept() {
		t.Error("what is in the journal is not kept")
	}
	h.Release()
	h = j.Hold()
	j.fail(errors.New("a test"))
	p.announce(j, "log", "two")
	p.sync(j)
	if h.Kept() {
		t.Error("a broken journal keeps something")
	}
	h.Release()
}

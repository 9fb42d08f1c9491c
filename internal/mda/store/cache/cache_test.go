package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// TestSample reads a file that Dovecot 2.3.19 wrote.
func TestSample(t *testing.T) {
	r, err := Open("testdata/dovecot-2.3.19.index.cache")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if want := (Header{IndexID: 0x6b02ae1c, FileSeq: 0x6b02ae1c, Continued: 4, Records: 4, UsedSize: 388, Deleted: 1, Fields: 32}); r.Header != want {
		t.Errorf("header %+v, want %+v", r.Header, want)
	}
	var got strings.Builder
	for i := range r.Fields {
		if f := &r.Fields[i]; f.LastUsed != 0 {
			fmt.Fprintln(&got, f.Name, f.Kind, f.Decision, int32(f.Size))
		}
	}
	var v Values
	if err := r.Load(&v, 388); err != nil {
		t.Fatal(err)
	}
	for n, data := range v.All() {
		fmt.Fprintf(&got, "%s = %x\n", r.Fields[n].Name, data)
	}
	want := `flags bitmask temp 4
date.received fixed temp 4
size.physical fixed temp 8
guid string temp -1
mime.parts variable temp -1
hdr.From header temp -1
hdr.Message-ID header temp -1
hdr.Subject header temp -1
flags = 30000000
mime.parts = 080000008b00000000000000910000000000000012000000000000001300000000000000` + "01000000\n"
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
	}
}

// A box is the part of a mailbox that a cache needs.
type box struct {
	t       *testing.T
	dir     *index.Dir
	log     bytes.Buffer
	c       *Cache
	now     time.Time
	id, seq uint32
	at      map[uint32]uint32 // offset by uid
}

func newBox(t *testing.T, set Settings) *box {
	dir, err := index.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dir.Close)
	b := &box{t: t, dir: dir, now: time.Unix(1800000000, 0), id: 77, at: make(map[uint32]uint32)}
	b.reopen(set)
	return b
}

func (b *box) reopen(set Settings) {
	if b.c != nil {
		b.c.Close()
	}
	b.c = New(Options{
		Dir: func(bool) (*index.Dir, error) { return b.dir, nil }, Mailbox: "box",
		Log: maillog.NewFunc(func(_ maillog.Level, text string) { fmt.Fprintln(&b.log, text) }), Settings: set, Now: func() time.Time { return b.now },
	})
	b.t.Cleanup(b.c.Close)
}

func (b *box) write(adds ...Add) {
	b.t.Helper()
	for i := range adds {
		adds[i].Offset = b.at[adds[i].UID]
	}
	seq, err := b.c.Write(context.Background(), b.id, b.seq, adds)
	if err != nil {
		b.t.Fatal(err)
	}
	if seq != b.seq {
		b.seq, b.at = seq, make(map[uint32]uint32)
	}
	for _, a := range adds {
		b.at[a.UID] = a.Offset
	}
}

func (b *box) value(id ID, data string) []byte { return b.c.AppendValue(nil, id, []byte(data)) }

func (b *box) get(v *View, uid uint32, id ID) string {
	b.t.Helper()
	v.Load(b.id, b.seq, b.at[uid])
	data, ok := v.Get(id, uid, 0)
	if !ok {
		return "none"
	}
	return string(data)
}

func (b *box) decisions() string {
	b.t.Helper()
	b.c.Note()
	r, err := Open(b.dir.File(index.CacheName))
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	var s strings.Builder
	for _, f := range r.Fields {
		if f.Decision != No {
			fmt.Fprintf(&s, "%s %v ", f.Name, f.Decision)
		}
	}
	return s.String()
}

func TestWriteAndRead(t *testing.T) {
	b := newBox(t, Settings{Fields: "flags"})
	subject, _ := b.c.Header("Subject")
	b.write(Add{UID: 1, Values: b.value(Envelope, "one")}, Add{UID: 2, Values: b.value(Envelope, "two")})
	b.write(Add{UID: 1, Values: b.c.AppendLines(nil, subject, []uint32{3}, []byte("Subject: x\n"))})
	b.write(Add{UID: 3, Values: b.value(Flags, "\x10\x00\x00\x00")})
	b.write(Add{UID: 3, Values: b.value(Flags, "\x20\x00\x00\x00")})
	for _, again := range []bool{false, true} {
		if again {
			b.reopen(Settings{})
			subject, _ = b.c.Header("subject")
		}
		v := b.c.View()
		for _, c := range []struct {
			uid  uint32
			id   ID
			want string
		}{
			{1, Envelope, "one"}, {2, Envelope, "two"}, {1, subject, "\x03\x00\x00\x00\x00\x00\x00\x00Subject: x\n"},
			{2, subject, "none"}, {3, Flags, "\x30\x00\x00\x00"}, {3, Envelope, "none"}, {4, Envelope, "none"},
		} {
			if got := b.get(v, c.uid, c.id); got != c.want {
				t.Errorf("again=%v: uid %d, field %d: %q, want %q", again, c.uid, c.id, got, c.want)
			}
		}
	}
	if b.log.Len() > 0 {
		t.Error(b.log.String())
	}
}

// TestDecisions follows what becomes of a field as clients ask for it.
func TestDecisions(t *testing.T) {
	b := newBox(t, Settings{Fields: "flags", Always: "date.sent", Never: "imap.envelope"})
	if p := b.c.Plan(b.id, 0, true); !p.Wants(SentDate) || p.Wants(Envelope) {
		t.Error("plan of a new mailbox")
	}
	if b.c.Accepts(Envelope) || !b.c.Accepts(Body) {
		t.Error("accepts what is never to be cached")
	}
	b.write(Add{UID: 1, Values: b.value(Body, "one")}, Add{UID: 2, Values: b.value(Body, "two")})
	if got, want := b.decisions(), "flags temp date.sent yes imap.body temp "; got != want {
		t.Errorf("after the first value: %q, want %q", got, want)
	}
	v := b.c.View()
	b.get(v, 1, Body)
	b.get(v, 2, Body)
	b.get(b.c.View(), 1, Body) // another session, in order
	if p := b.c.Plan(b.id, b.seq, true); !p.Wants(Body) || b.c.Plan(b.id, b.seq, false).Wants(Body) {
		t.Error("temporary field is not of new messages only")
	}
	if got, want := b.decisions(), "flags temp date.sent yes imap.body temp "; got != want {
		t.Errorf("asked for in order: %q, want %q", got, want)
	}
	b.get(v, 1, Body)
	if got, want := b.decisions(), "flags temp date.sent yes imap.body yes "; got != want {
		t.Errorf("asked for again: %q, want %q", got, want)
	}
	if !b.c.Plan(b.id, b.seq, false).Wants(Body) {
		t.Error("plan of old messages without the field")
	}

	day := uint32(b.now.Unix())
	month := uint32(30 * secondsPerDay)
	if why := b.c.NeedsPurge(2, day); why != "" {
		t.Error("needs a purge: ", why)
	}
	if b.c.NeedsPurge(2, day+month+1) == "" {
		t.Error("needs no purge after a month")
	}
	b.purge(day+month+1, 1, 2)
	if got, want := b.decisions(), "flags temp date.sent yes imap.body temp "; got != want {
		t.Errorf("after a month: %q, want %q", got, want)
	}
	if got := b.get(v, 1, Body) + b.get(v, 2, Body); got != "nonetwo" {
		t.Errorf("after the purge %q", got)
	}
	b.now = b.now.Add(100 * 24 * time.Hour)
	b.purge(uint32(b.now.Unix()), 0, 2)
	if got, want := b.decisions(), "date.sent yes "; got != want {
		t.Errorf("after three months: %q, want %q", got, want)
	}
}

// purge makes the file anew for messages with uids 1 to n, of which those before firstNew are
// old.
func (b *box) purge(day, old uint32, n uint32) {
	b.t.Helper()
	var msgs []Message
	for uid := uint32(1); uid <= n; uid++ {
		msgs = append(msgs, Message{uid, b.at[uid]})
	}
	seq, err := b.c.Purge(context.Background(), b.id, b.seq, old+1, day, msgs)
	if err != nil || seq == b.seq {
		b.t.Fatalf("purge: sequence %d after %d, %v", seq, b.seq, err)
	}
	b.seq = seq
	for _, m := range msgs {
		b.at[m.UID] = m.Offset
	}
}

// TestPurgeThresholds fills a file until it is worth to be made anew.
func TestPurgeThresholds(t *testing.T) {
	set := Settings{PurgeDeleted: 20, PurgeContinued: 200, PurgeHeaders: 4}
	b := newBox(t, set)
	text := strings.Repeat("x", 2000)
	for uid := uint32(1); uid <= 40; uid++ {
		b.write(Add{UID: uid, Values: b.value(Body, text)})
	}
	if why := b.c.NeedsPurge(40, 0); why != "" {
		t.Error("needs a purge: ", why)
	}
	b.c.Dropped(10)
	if why := b.c.NeedsPurge(30, 0); !strings.Contains(why, "expunged") {
		t.Errorf("after 10 of 40 were expunged: %q", why)
	}
	b.purge(0, 0, 30)
	if why := b.c.NeedsPurge(30, 0); why != "" {
		t.Error("needs a purge after one: ", why)
	}
	for range 2 {
		for uid := uint32(1); uid <= 30; uid++ {
			b.write(Add{UID: uid, Values: b.value(Flags, "\x01\x00\x00\x00")})
		}
	}
	if why := b.c.NeedsPurge(30, 0); !strings.Contains(why, "continue") {
		t.Errorf("after each record was continued twice: %q", why)
	}
	for i := range 6 {
		id, _ := b.c.Header(fmt.Sprint("X-", i))
		b.write(Add{UID: 1, Values: b.c.AppendLines(nil, id, nil, nil)})
		b.reopen(set)
	}
	b.get(b.c.View(), 1, Body)
	if why := b.c.NeedsPurge(30, 0); !strings.Contains(why, "field headers") {
		t.Errorf("after six new fields: %q", why)
	}
}

// TestDamage looks values up in files that are damaged: nothing is taken from beyond what
// is there, the log says so once, and the next write makes a new file.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b []byte, rec uint32) []byte
		silent bool
	}{
		{"cut in the header", func(b []byte, _ uint32) []byte { return b[:20] }, false},
		{"cut in the fields", func(b []byte, _ uint32) []byte { return b[:100] }, false},
		{"cut in the record", func(b []byte, rec uint32) []byte { return b[:rec+12] }, false},
		{"empty", func([]byte, uint32) []byte { return nil }, false},
		{"zeros", func(b []byte, _ uint32) []byte { return make([]byte, len(b)) }, false},
		{"zeros in the record", func(b []byte, rec uint32) []byte { clear(b[rec:]); return b }, false},
		{"major version", func(b []byte, _ uint32) []byte { b[0]++; return b }, false},
		{"record size", func(b []byte, rec uint32) []byte { b[rec+7] = 0x7f; return b }, false},
		{"field number", func(b []byte, rec uint32) []byte { b[rec+9] = 0x7f; return b }, false},
		{"value size", func(b []byte, rec uint32) []byte { b[rec+13] = 0x7f; return b }, false},
		{"record continues itself", func(b []byte, rec uint32) []byte { binary.LittleEndian.PutUint32(b[rec:], rec); return b }, false},
		{"field header continues itself", func(b []byte, _ uint32) []byte { copy(b[headerSize:], appendOffset(nil, headerSize)); return b }, false},
		{"number of fields", func(b []byte, _ uint32) []byte { b[headerSize+11] = 0x7f; return b }, false},
		{"index id", func(b []byte, _ uint32) []byte { b[4]++; return b }, true},
		{"sequence", func(b []byte, _ uint32) []byte { b[8]++; return b }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, Settings{})
			b.write(Add{UID: 1, Values: b.value(Body, "one")})
			path := filepath.Join(b.dir.Path, index.CacheName)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, c.damage(data, b.at[1]), 0o600); err != nil {
				t.Fatal(err)
			}
			b.reopen(Settings{})
			v := b.c.View()
			for range 3 {
				if got := b.get(v, 1, Body); got != "none" {
					t.Errorf("got %q", got)
				}
			}
			if n := strings.Count(b.log.String(), "Deleting corrupted cache"); c.silent && n != 0 || !c.silent && n != 1 {
				t.Errorf("log: %s", b.log.String())
			}
			before := b.seq
			b.write(Add{UID: 1, Values: b.value(Body, "again")})
			if b.seq == before {
				t.Error("no new file was made")
			}
			if got := b.get(b.c.View(), 1, Body); got != "again" {
				t.Errorf("afterwards %q", got)
			}
		})
	}
}

// TestTwoProcesses has two write to one file, and one replace it.
func TestTwoProcesses(t *testing.T) {
	b := newBox(t, Settings{})
	b.write(Add{UID: 1, Values: b.value(Body, "one")})
	first := b.c
	b.c = New(first.opt)
	t.Cleanup(b.c.Close)
	id, _ := b.c.Header("X-Other")
	b.write(Add{UID: 2, Values: b.c.AppendLines(nil, id, nil, nil)})
	second := b.c
	b.c = first
	v := b.c.View()
	if got := b.get(v, 2, Body); got != "none" {
		t.Errorf("got %q", got)
	}
	mine, _ := b.c.Header("X-Other")
	if got := b.get(v, 2, mine); got != "" {
		t.Errorf("field of the other process: %q", got)
	}
	third, _ := b.c.Header("X-Third")
	b.write(Add{UID: 2, Values: b.c.AppendLines(nil, third, nil, nil)})
	b.c = second
	b.purge(0, 0, 2)
	b.c = first
	b.write(Add{UID: 3, Values: b.value(Body, "three")})
	b.c = second
	if got := b.get(b.c.View(), 3, Body) + b.get(b.c.View(), 1, Body); got != "threeone" {
		t.Errorf("after the file was replaced: %q", got)
	}
	if b.log.Len() > 0 {
		t.Error(b.log.String())
	}
}

// FuzzFile reads whatever a file contains.
func FuzzFile(f *testing.F) {
	sample, err := os.ReadFile("testdata/dovecot-2.3.19.index.cache")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample, uint32(388))
	f.Add(sample[:600], uint32(452))
	f.Fuzz(func(t *testing.T, data []byte, off uint32) {
		var r Reader
		src := bytes.NewReader(data)
		if r.read(src) != nil {
			return
		}
		var v Values
		for range 2 {
			if r.load(src, &v, off) != nil {
				return
			}
			for n, value := range v.All() {
				if f := &r.Fields[n]; !f.IsVariable() && int(f.Size) != len(value) || len(value) > len(data) {
					t.Fatalf("field %q has %d bytes", f.Name, len(value))
				}
			}
		}
		// What was read is written the same.
		again, err := parseFields(appendFields(nil, r.Fields))
		if err != nil || len(again) != len(r.Fields) {
			t.Fatalf("fields written again: %v", err)
		}
	})
}

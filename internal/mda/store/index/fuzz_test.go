package index

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzLog applies any bytes as a log. What it accepts must survive being written
// to dovecot.index.
func FuzzLog(f *testing.F) {
	for _, b := range seeds(f, "*.log") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeLogHeader(b)
		if err != nil || h.size > len(b) {
			return
		}
		s := newState(newHeader(h.indexID), false)
		s.logSeq, s.logOff, s.modseq = h.seq, uint32(h.size), h.modseq
		light := newState(s.Hdr, true)
		light.modseq = h.modseq
		if s.applyAll(b[h.size:], h.minor) != nil {
			return
		}
		if err := light.applyAll(b[h.size:], h.minor); err != nil {
			t.Fatalf("light state: %v", err)
		}
		if light.Hdr.NextUID() != s.Hdr.NextUID() || light.modseq != s.modseq {
			t.Fatalf("light state: next uid %d, modseq %d; full %d, %d", light.Hdr.NextUID(), light.modseq, s.Hdr.NextUID(), s.modseq)
		}
		check(t, s)
		roundTrip(t, s)
	})
}

// FuzzIndex reads any bytes as dovecot.index, strictly and to salvage what can
// be had.
func FuzzIndex(f *testing.F) {
	for _, b := range seeds(f, "*.index") {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := (&decoder{}).decode(bytes.Clone(b)); err == nil {
			check(t, s)
			roundTrip(t, s)
		}
		if s, err := (&decoder{salvage: true}).decode(bytes.Clone(b)); err == nil {
			check(t, s)
		}
	})
}

// seeds returns the sample files, which Dovecot wrote.
func seeds(tb testing.TB, pattern string) (bs [][]byte) {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		tb.Fatalf("no samples %s: %v", pattern, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		bs = append(bs, b)
	}
	return bs
}

// check looks whether the state is consistent.
func check(t *testing.T, s *State) {
	last := uint32(0)
	for i := range s.Len() {
		uid := s.UID(i)
		if uid <= last {
			t.Fatalf("message %d has uid %d after %d", i, uid, last)
		}
		last = uid
		if n, ok := s.Find(uid); !ok || n != i {
			t.Fatalf("uid %d is message %d, found as %d, %v", uid, i, n, ok)
		}
		s.KeywordBits(i)
		s.ModSeq(i)
	}
}

func roundTrip(t *testing.T, s *State) {
	var b []byte
	if err := s.encode(func(p []byte) error { b = append(b, p...); return nil }); err != nil {
		t.Fatal(err)
	}
	again, err := (&decoder{}).decode(b)
	if err != nil {
		// What a log may do to the header, Dovecot would refuse, too.
		return
	}
	if d := cmp.Diff(dumpRows(s), dumpRows(again)); d != "" {
		t.Fatalf("written and read again (-before +after)\n%s", d)
	}
}

type dumpedRow struct {
	UID      uint32
	Flags    byte
	Keywords []string
	Ext      map[string][]byte
}

func dumpRows(s *State) (rs []dumpedRow) {
	for i := range min(s.Len(), 3000) {
		r := dumpedRow{UID: s.UID(i), Flags: s.Flags(i), Ext: map[string][]byte{}}
		for k, name := range s.Keywords {
			if HasBit(s.KeywordBits(i), k) {
				r.Keywords = append(r.Keywords, name)
			}
		}
		for e := range s.Exts {
			if d := s.ExtRecord(i, e); !isZero(d) && s.Exts[e].Name != extKeywords && s.Exts[e].Name != extModSeq {
				r.Ext[s.Exts[e].Name] = bytes.TrimRight(d, "\x00")
			}
		}
		rs = append(rs, r)
	}
	return rs
}

func TestSampleRoundTrip(t *testing.T) {
	for _, b := range seeds(t, "*.index") {
		s, err := (&decoder{}).decode(b)
		if err != nil {
			t.Fatal(err)
		}
		check(t, s)
		roundTrip(t, s)
	}
}

func TestLen(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{16, "\x80\x80\x80\x84"}, {28, "\x80\x80\x80\x87"}, {512, "\x80\x80\x81\x80"}} {
		b := appendLen(nil, c.n)
		if string(b) != c.want {
			t.Errorf("length %d is % x", c.n, b)
		}
		if n, ok := decodeLen(b); n != c.n || !ok {
			t.Errorf("% x is %d, %v", b, n, ok)
		}
	}
	if _, ok := decodeLen([]byte{0x80, 0x80, 0, 0x84}); ok {
		t.Error("an unfinished length was accepted")
	}
}

func TestDayUpdate(t *testing.T) {
	const day = 24 * 3600
	h := newHeader(1)
	for _, c := range []struct {
		stamp, uid uint32
		want       []uint32
	}{
		{100 * day, 1, []uint32{1, 0, 0, 0}},
		{101 * day, 5, []uint32{5, 1, 0, 0}},
		{103 * day, 9, []uint32{9, 5, 5, 1}},
	} {
		data, ok := h.dayUpdate(c.stamp, c.uid)
		if !ok {
			t.Fatalf("day %d: no update", c.stamp/day)
		}
		h.update(offDayStamp, data[:])
		var got []uint32
		for i := range c.want {
			got = append(got, binary.LittleEndian.Uint32(data[4+4*i:]))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("day %d: (-want +got)\n%s", c.stamp/day, d)
		}
	}
	if _, ok := h.dayUpdate(103*day, 10); ok {
		t.Error("two updates on one day")
	}
}

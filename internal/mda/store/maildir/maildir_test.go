package maildir

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestWithInfo(t *testing.T) {
	for _, c := range []struct {
		name string
		info Info
		want string
	}{
		{"1.host", Info{}, "1.host:2,"},
		{"1.host,S=3:2,S", Info{Flags: seen | flagged | answered | deleted | draft}, "1.host,S=3:2,DFRST"},
		{"1.host:2,FSXz", Info{Flags: seen, Letters: 1<<1 | 1<<0}, "1.host:2,SXab"},
		{"1.host:2,FB{,x=y,z", Info{Letters: 1 << 25}, "1.host:2,Bz{,x=y,z"},
		{"1.host:1,old", Info{Flags: seen}, "1.host:2,S"},
		{"1.host:2", Info{Flags: draft}, "1.host:2,D"},
	} {
		if got := WithInfo(c.name, c.info); got != c.want {
			t.Errorf("%s with %+v: got %s, want %s", c.name, c.info, got, c.want)
		}
		if got := ParseInfo(c.want); got != c.info {
			t.Errorf("%s: got %+v, want %+v", c.want, got, c.info)
		}
	}
}

func TestSizeIn(t *testing.T) {
	for _, c := range []struct {
		name string
		key  byte
		want int64
		ok   bool
	}{
		{"1795337756.M213666P32097.vm,S=157,W=164:2,Sb", KeySize, 157, true},
		{"1795337756.M213666P32097.vm,S=157,W=164:2,Sb", KeyVirtualSize, 164, true},
		{"1.host", KeySize, 0, false},
		{"1.host:2,S=5", KeySize, 0, false},
		{"1.host,S=", KeySize, 0, false},
		{"1.host,S=+5", KeySize, 0, false},
		{"1.host,S=5x,W=6", KeySize, 0, false},
		{"1.host,S=99999999999999999999", KeySize, 0, false},
	} {
		got, ok := SizeIn(c.name, c.key)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s %c: got %d %v", c.name, c.key, got, ok)
		}
	}
}

func TestNewName(t *testing.T) {
	now := time.Unix(1700000000, 0)
	names := make(map[string]bool)
	for range 1000 {
		names[NewName(now)] = true
	}
	if len(names) != 1000 {
		t.Errorf("%d of 1000 names differ", len(names))
	}
}

func TestCompareNames(t *testing.T) {
	want := []string{"readme", "9.M1.h", "10.M2P1.h", "10.M10P1.h", "10.M10P2.h"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareNames)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

const goodList = "3 V1795337758 N1 G8924470c1cae026b617d000083ecc375 Xkept\n" +
	"1 :1795337756.M213666P32097.vm,S=157,W=164\n" +
	"5 S157 W164 Pmyuidl Gabc :1700000000.1.host\n"

func TestUIDList(t *testing.T) {
	l, err := parseUIDList(goodList)
	if err != nil {
		t.Fatal(err)
	}
	if l.validity != 1795337758 || l.next != 6 || len(l.entries) != 2 {
		t.Fatalf("%+v", l)
	}
	e := &l.entries[1]
	if e.GUID() != "abc" || e.UIDL() != "myuidl" || l.entries[0].GUID() != l.entries[0].Base {
		t.Errorf("%+v", e)
	}
	if v, ok := e.virtualSize(157); !ok || v != 164 {
		t.Errorf("virtual size %d %v", v, ok)
	}
	if v, ok := e.virtualSize(158); ok {
		t.Errorf("virtual size %d of a file that has another size than its field says", v)
	}
	want := strings.Replace(goodList, "N1 ", "N6 ", 1)
	if d := cmp.Diff(want, string(l.append(nil))); d != "" {
		t.Errorf("written (-want +got)\n%s", d)
	}
}

func TestUIDListVersion1(t *testing.T) {
	l, err := parseUIDList("1 1125 9\n3 1700000000.1.host\n7 1700000001.1.host\n")
	if err != nil || l.validity != 1125 || l.next != 9 || len(l.entries) != 2 || l.entries[1].Base != "1700000001.1.host" {
		t.Errorf("%+v, %v", l, err)
	}
}

// Dovecot leaves a line behind of a message that was moved away, and adds one when it comes back.
func TestUIDListNameTwice(t *testing.T) {
	l, err := parseUIDList(goodList + "6 :1700000000.1.host\n")
	if err != nil || len(l.entries) != 2 || l.entries[0].UID != 1 || l.entries[1].UID != 6 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestUIDListDamage(t *testing.T) {
	for _, c := range []struct {
		name, text string
		uids       []uint32
	}{
		{"cut at the end", goodList[:len(goodList)-3], []uint32{1}},
		{"no colon", goodList + "6 nocolon\n7 :x\n", []uint32{1, 5, 7}},
		{"descending", goodList + "5 :x\n", []uint32{1, 5}},
		{"path", goodList + "6 :../x\n", []uint32{1, 5}},
		{"highest uid", goodList + "4294967295 :x\n", []uint32{1, 5}},
		{"empty line", goodList + "\n6 :x\n", []uint32{1, 5, 6}},
		{"header cut", goodList[:20], nil},
		{"header overwritten", "9" + goodList[1:], []uint32{1, 5}},
		{"no uidvalidity", "3 N1\n1 :x\n", []uint32{1}},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := parseUIDList(c.text)
			if err == nil {
				t.Error("not seen as damaged")
			}
			var uids []uint32
			for _, e := range l.entries {
				uids = append(uids, e.UID)
			}
			if d := cmp.Diff(c.uids, uids); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestKeywords(t *testing.T) {
	k := parseKeywords("0 $Label1\n1 $Forwarded\n25 Custom\n26 toomany\nx y\n1 again\n")
	if k.letter("custom") != 25 || k.letter("toomany") >= 0 || k[1] != "again" {
		t.Errorf("%q", k)
	}
	if !k.give([]string{"new", "$label1"}) || k.letter("new") != 2 {
		t.Errorf("%q", k)
	}
	if !k.giveUnknown(1<<3|1<<0) || k[3] != "unknown-3" {
		t.Errorf("%q", k)
	}
	if got, want := string(k.append(nil)), "0 $Label1\n1 again\n2 new\n3 unknown-3\n25 Custom\n"; got != want {
		t.Errorf("written %q, want %q", got, want)
	}
}

// TestTimes checks the vector of a mailbox that Dovecot made.
func TestTimes(t *testing.T) {
	want := Times{New: DirTime{1, 2, 3}, Cur: DirTime{4, 5, 6}, ListSec: 7, ListNsec: 8, ListSize: 9}
	b := want.Append(nil)
	if len(b) != TimesSize || b[0] != 1 || b[32] != 9 {
		t.Errorf("%x", b)
	}
	if got := DecodeTimes(b); got != want {
		t.Errorf("%+v", got)
	}
	if got := DecodeTimes(b[:35]); got != (Times{}) {
		t.Errorf("of a short header: %+v", got)
	}
}

// TestUnsure checks when a directory is listed once more.
func TestUnsure(t *testing.T) {
	var d DirTime
	var st unix.Stat_t
	st.Mtim.Sec = 1000
	for _, c := range []struct {
		listed, now int64
		want        bool
	}{
		{1000, 1000, false},
		{1000, 1001, false},
		{1000, 1002, true},
		{1001, 1003, true},
		{1002, 1004, false},
	} {
		d.set(&st, time.Unix(c.listed, 0))
		if got := d.unsure(time.Unix(c.now, 0)); got != c.want {
			t.Errorf("changed at 1000, listed at %d: unsure at %d is %v", c.listed, c.now, got)
		}
	}
}

func FuzzUIDList(f *testing.F) {
	f.Add(goodList)
	f.Add("1 1125 9\n3 1700000000.1.host\n")
	f.Add("3 V1 N1 G\n1 :x\n1 :y\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, _ := parseUIDList(text)
		last := uint32(0)
		for _, e := range l.entries {
			if e.UID <= last || e.UID >= l.next || !validBase(e.Base) {
				t.Fatalf("entry %+v after uid %d, next %d", e, last, l.next)
			}
			last = e.UID
		}
		if l.validity == 0 {
			return
		}
		again, err := parseUIDList(string(l.append(nil)))
		if err != nil {
			t.Fatalf("what was written: %v\n%s", err, l.append(nil))
		}
		if d := cmp.Diff(l.entries, again.entries, cmp.AllowUnexported(Entry{})); d != "" {
			t.Fatalf("read again (-want +got)\n%s", d)
		}
	})
}

func FuzzKeywords(f *testing.F) {
	f.Add("0 $Label1\n25 Custom\n")
	f.Fuzz(func(t *testing.T, text string) {
		k := parseKeywords(text)
		if again := parseKeywords(string(k.append(nil))); again != k {
			t.Fatalf("%q, read again %q", k, again)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("1700000001.2.host:2,FSXbz", byte(0x0a), uint32(3))
	f.Add("1.host,S=3,W=4:2,,x", byte(1), uint32(0))
	f.Fuzz(func(t *testing.T, name string, flags byte, letters uint32) {
		info := Info{Flags: flags & AllFlags, Letters: letters & (1<<MaxKeywords - 1)}
		to := WithInfo(name, info)
		if Base(to) != Base(name) || ParseInfo(to) != info {
			t.Fatalf("%q with %+v is %q", name, info, to)
		}
		if again := WithInfo(to, info); again != to {
			t.Fatalf("%q, once more %q", to, again)
		}
		SizeIn(name, KeySize)
		compareNames(name, to)
	})
}

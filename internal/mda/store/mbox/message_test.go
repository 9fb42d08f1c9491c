package mbox

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const from = "From a@b  Tue Jan 02 03:04:05 2024\n"

// parseAll returns the messages of a file.
func parseAll(text string) (list []*Message, err error) {
	p := &parser{w: newWindow(strings.NewReader(text), int64(len(text)))}
	defer p.w.close()
	err = p.each("test", 0, func(m *Message) error {
		list = append(list, m)
		return nil
	})
	return list, err
}

// show returns what readers see of the messages.
func show(text string, list []*Message) (shown []string) {
	for _, m := range list {
		f := File{text: nil}
		f.setMessage(m)
		var b strings.Builder
		for _, r := range f.runs {
			b.WriteString(text[r.start:r.end])
		}
		shown = append(shown, b.String())
	}
	return shown
}

func TestBoundaries(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", nil},
		{"one", from + "A: 1\n\nbody\n\n", []string{"A: 1\n\nbody\n"}},
		{"no line end at the end", from + "A: 1\n\nbody", []string{"A: 1\n\nbody"}},
		{"only one line end at the end", from + "A: 1\n\nbody\n", []string{"A: 1\n\nbody"}},
		{"two", from + "A: 1\n\nx\n\n" + from + "A: 2\n\ny\n\n", []string{"A: 1\n\nx\n", "A: 2\n\ny\n"}},
		{"no empty line between", from + "A: 1\n\nx\n" + from + "A: 2\n\ny\n\n", []string{"A: 1\n\nx", "A: 2\n\ny\n"}},
		{"no From_ line", from + "A: 1\n\nFrom here\nFrom someone said hello\n\n", []string{"A: 1\n\nFrom here\nFrom someone said hello\n"}},
		{"a From_ line in the text", from + "A: 1\n\nx\n" + from + "y\n\n", []string{"A: 1\n\nx", "y\n"}},
		{"Content-Length", from + "A: 1\nContent-Length: 38\n\nx\n" + from + "\n\n" + from + "A: 2\n\ny\n\n",
			[]string{"A: 1\n\nx\n" + from + "\n", "A: 2\n\ny\n"}},
		{"Content-Length to the end", from + "Content-Length: 38\n\nx\n" + from + "\n\n", []string{"\nx\n" + from + "\n"}},
		{"Content-Length too small", from + "Content-Length: 1\n\nxyz\n\n", []string{"\nxyz\n"}},
		{"Content-Length too large", from + "Content-Length: 1000\n\nxyz\n\n" + from + "A: 2\n\ny\n\n", []string{"\nxyz\n", "A: 2\n\ny\n"}},
		{"Content-Length huge", from + "Content-Length: 99999999999999999999\n\nxyz\n\n", []string{"\nxyz\n"}},
		{"no body", from + "A: 1\n\n\n" + from + "A: 2\n\n\n", []string{"A: 1\n\n", "A: 2\n\n"}},
		{"no end of the header", from + "A: 1\n\n" + from + "A: 2\n\n", []string{"A: 1\n", "A: 2\n"}},
		{"no end of the header nor empty line", from + "A: 1\n" + from + "A: 2\n", []string{"A: 1", "A: 2"}},
		{"two From_ lines", from + from + "A: 2\n\ny\n\n", []string{from + "A: 2\n\ny\n"}},
		{"CRLF", strings.ReplaceAll(from+"A: 1\nX-UID: 3\n\nx\n\n"+from+"A: 2\n\ny\n\n", "\n", "\r\n"), []string{"A: 1\r\n\r\nx\r\n", "A: 2\r\n\r\ny\r\n"}},
		{"long lines", from + "A: " + strings.Repeat("x", 3*windowSize) + "\n\n" + strings.Repeat("y", 3*windowSize) + "\n\n" + from + "B: 1\n\n\n",
			[]string{"A: " + strings.Repeat("x", 3*windowSize) + "\n\n" + strings.Repeat("y", 3*windowSize) + "\n", "B: 1\n\n"}},
		{"hidden fields", from + "X-IMAPbase: 1 2\nStatus: RO\nA: 1\nx-status : A\nX-UID: 3\n 4\nX-Keywords: a\n\tb\nB: 2\nContent-Length: 2\n\nx\n\n",
			[]string{"A: 1\nB: 2\n\nx\n"}},
		{"hidden fields at the end", from + "X-UID: 3\nStatus: O\n" + from + "Status: R", []string{"", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := parseAll(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, show(c.text, list)); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
	for _, text := range []string{"hello\n", "\n" + from, "From someone\n", "\x00\x00"} {
		if _, err := parseAll(text); err == nil {
			t.Errorf("%q is taken for an mbox", text)
		}
	}
}

func TestHiddenFields(t *testing.T) {
	const rest = "\n\nx\n\n"
	for _, c := range []struct{ name, header, want string }{
		{"all", "X-IMAPbase: 7 0000000009 k $L\nX-UID: 3\nStatus: RO\nX-Status: AFTD\nX-Keywords: k $L   ", "uid 3 flags 1f old [k $L] base 7 9 [k $L]"},
		{"pseudo", "X-IMAP: 7 0000000009", "uid 0 flags 0 [] base 7 9 [] pseudo"},
		{"uid before base", "X-UID: 3\nX-IMAPbase: 7 9", "uid 0 flags 0 [] base 7 9 [] broken"},
		{"no base", "X-UID: 3", "uid 0 flags 0 [] broken"},
		{"base of zero", "X-IMAPbase: 0 0000000009", "uid 0 flags 0 [] broken"},
		{"base without uid", "X-IMAPbase: 7", "uid 0 flags 0 [] broken"},
		{"two bases", "X-IMAPbase: 7 9\nX-IMAPbase: 8 9\nX-UID: 1", "uid 1 flags 0 [] base 7 9 [] broken"},
		{"wrapped keywords", "X-IMAPbase: 7 0000000009 a\n\tb\nX-UID: 1", "uid 1 flags 0 [] base 7 9 [a b]"},
		{"text behind the uid", "X-IMAPbase: 7 9\nX-UID: 1 x", "uid 0 flags 0 [] base 7 9 [] broken"},
		{"uid too large", "X-IMAPbase: 7 9\nX-UID: 4294967295", "uid 0 flags 0 [] base 7 9 [] broken"},
		{"status twice", "X-IMAPbase: 7 9\nX-UID: 1\nStatus: R\nStatus: RO", "uid 1 flags 8 old [] base 7 9 [] broken"},
		{"unknown letters", "X-IMAPbase: 7 9\nX-UID: 1\nStatus: RX\nX-Status: Z", "uid 1 flags 8 [] base 7 9 []"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := parseAll(from + c.header + rest)
			if err != nil || len(list) != 1 {
				t.Fatal(len(list), err)
			}
			m := list[0]
			got := fmt.Sprintf("uid %d flags %x", m.UID, m.Flags)
			if m.Old {
				got += " old"
			}
			got += fmt.Sprint(" ", m.Keywords)
			if m.Base != nil {
				got += fmt.Sprint(" base ", m.Base.UIDValidity, " ", m.Base.LastUID, " ", m.Base.Keywords)
			}
			if m.Pseudo {
				got += " pseudo"
			}
			if m.broken || m.UID == 0 && !m.Pseudo {
				got += " broken"
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	sum := func(s string) string { s2 := md5.Sum([]byte(s)); return hex.EncodeToString(s2[:]) }
	for _, c := range []struct {
		name, header string
		kind         Digest
		want         string
	}{
		{"Dovecot's", "Subject: x\nDate: Mon, 01 Jan 2024 10:01:00 +0000\nMessage-ID: <m1@example.org>\n", DigestAPOP3D, "e748ea84507a9b14f698961af9ab3e9b"},
		{"nothing", "Subject: x\n", DigestAPOP3D, "d41d8cd98f00b204e9800998ecf8427e"},
		{"Received first", "Delivered-To: a\nReceived: b\n\tc\nReceived: d\nDate: e\nMessage-Id: f\nX-Delivery-ID: g\nDelivered-To: h\n", DigestAPOP3D, sum("ab\tcgh")},
		{"Date first", "date:  e\nReceived: b\n", DigestAPOP3D, sum(" eb")},
		{"all", "A: 1\nB:2\n 3\nX-UID: 5\nno colon\n", DigestAll, sum("12 3no colon")},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := from + c.header + "\nbody\n\n"
			p := &parser{w: newWindow(strings.NewReader(text), int64(len(text))), digest: c.kind}
			defer p.w.close()
			m, err := p.parse(0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(m.MD5[:]); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			w := &Writer{md5: newDigester(c.kind), mem: new([]byte)}
			w.Write([]byte(strings.ReplaceAll(c.header, "\n", "\r\n") + "\r\nbody\r\n"))
			if err := w.Finish(); err != nil {
				t.Fatal(err)
			}
			if got := w.MD5(); got != m.MD5 && c.name != "Received first" { // X-Delivery-ID goes
				t.Errorf("saved: %x", got)
			}
		})
	}
}

// TestSample reads a file that Dovecot wrote.
func TestSample(t *testing.T) {
	t.Setenv("TZ", "UTC")
	text, err := os.ReadFile("testdata/sample-inbox.mbox")
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseAll(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, m := range list {
		got = append(got, fmt.Sprintf("%d %02x %v %v %x %s %s %d", m.UID, m.Flags, m.Old, m.Keywords, m.MD5, m.Sender, m.Received.UTC().Format("2006-01-02 15:04:05"), len(show(string(text), list)[i])))
	}
	want := []string{
		"1 08 true [$Forwarded] e748ea84507a9b14f698961af9ab3e9b smpmbox@vm 2024-01-01 10:00:01 157",
		"2 08 true [] f2716ebec9e4766d11f48310612d8697 smpmbox@vm 2024-01-01 10:00:02 157",
		"3 02 true [Custom] 3909b8e44ff47ef115a48e0af91c22a5 smpmbox@vm 2024-01-01 10:00:03 157",
		"5 00 false [] 59d47f9ec160f73a5654417bf5437ee9 env@example.org 2026-11-22 08:55:56 368",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if b := list[0].Base; b == nil || b.UIDValidity != 1795337758 || b.LastUID != 5 || strings.Join(b.Keywords, " ") != "$Label1 $Forwarded Custom" ||
		string(text[b.lastAt:b.lastAt+10]) != "0000000005" {
		t.Errorf("base %+v", b)
	}
}

// FuzzParse reads anything, and rewrites the headers of what it finds.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("testdata/sample-inbox.mbox")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte(from + "A: 1\n\nx\n" + from + "X-UID: 3\nStatus: O\n" + from + "Status: R"))
	f.Add([]byte(strings.ReplaceAll(from+"A: 1\nX-UID: 3\n\nx\n\n"+from+"A: 2\n\ny\n\n", "\n", "\r\n")))
	f.Add([]byte(from + "X-IMAP: 7 0000000009 a\n b\n\n\n"))
	f.Add([]byte(from + "Content-Length: 38\n\nx\n" + from + "\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		text := string(data)
		list, err := parseAll(text)
		if err != nil {
			return
		}
		at := int64(0)
		for i, m := range list {
			if m.From != at || m.Header <= m.From || m.Body < m.Header || m.End < m.Body || m.End > int64(len(text)) {
				t.Fatalf("message %d of %d: %+v", i, len(list), m)
			}
			at = m.End
		}
		if int64(len(text))-at > 2 {
			t.Fatalf("%d bytes are left over", int64(len(text))-at)
		}
		rewriteAll(t, text, list)
	})
}

// rewriteAll gives all messages new fields. What readers see of them stays.
func rewriteAll(t *testing.T, text string, list []*Message) {
	p := &parser{w: newWindow(strings.NewReader(text), int64(len(text)))}
	defer p.w.close()
	var edits []edit
	for i, m := range list {
		meta := Meta{UID: uint32(i + 1), Flags: FlagSeen, Old: true, Keywords: []string{"k"}, Length: m.End - m.Body}
		if i == 0 {
			meta.Base = &Base{UIDValidity: 1, LastUID: uint32(len(list)), Keywords: []string{"k"}}
		}
		e, ok, err := p.rewrite(m, &meta, padding)
		if errors.Is(err, errStays) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			edits = append(edits, e)
		}
	}
	var b bytes.Buffer
	off := int64(0)
	for _, e := range newPlan(edits).edits {
		if e.start < off {
			t.Fatalf("edits overlap: %+v", edits)
		}
		b.WriteString(text[off:e.start])
		b.Write(e.new)
		off = e.end
	}
	b.WriteString(text[off:])
	again, err := parseAll(b.String())
	if err != nil || len(again) != len(list) {
		t.Fatalf("%d messages became %d, %v: %q", len(list), len(again), err, b.String())
	}
	was, is := show(text, list), show(b.String(), again)
	for i, m := range again {
		if m.UID != uint32(i+1) || m.Flags != FlagSeen || !m.Old || len(m.Keywords) != 1 {
			t.Fatalf("message %d: %+v in %q", i, m, b.String())
		}
		if was, is := strings.TrimRight(was[i], "\r\n"), strings.TrimRight(is[i], "\r\n"); was != is {
			t.Fatalf("message %d was %q, is %q", i, was, is)
		}
	}
}

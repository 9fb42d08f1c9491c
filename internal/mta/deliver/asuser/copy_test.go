package asuser

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var when = time.Date(2026, 11, 2, 8, 5, 3, 0, time.UTC)

func TestCopy(t *testing.T) {
	const message = "Subject: x\r\n\r\nFrom here\r\n.dot\r\nFromage\r\n"
	for _, tt := range []struct {
		name, in string
		copy     Copy
		want     string
	}{
		{"as it is", message, Copy{}, "Subject: x\n\nFrom here\n.dot\nFromage\n"},
		{"mailbox", message, Copy{Sender: "a b@c.test", Original: "o@c.test", Delivered: "d@c.test"}.Mbox(),
			"From \"a b\"@c.test  Mon Nov  2 08:05:03 2026\nReturn-Path: <\"a b\"@c.test>\nX-Original-To: o@c.test\nDelivered-To: d@c.test\n" +
				"Subject: x\n\n>From here\n.dot\nFromage\n\n"},
		{"null sender", "x\r\n", Copy{}.Mbox(), "From MAILER-DAEMON  Mon Nov  2 08:05:03 2026\nReturn-Path: <>\nx\n\n"},
		{"dots and line ends", message, Copy{Dot: true, EOL: "\r\n"}, "Subject: x\r\n\r\nFrom here\r\n..dot\r\nFromage\r\n"},
		{"no end of line", "a\r\nb", Copy{}, "a\nb\n"},
		{"empty", "", Copy{}, ""},
		{"stray CR", "a\rb\r\n\r\r\n", Copy{}, "a\rb\n\r\n"},
		{"NUL", "a\x00b\r\n", Copy{}, "a\x00b\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, slow := range []bool{false, true} {
				in := iotest.DataErrReader(strings.NewReader(tt.in))
				if slow {
					in = iotest.OneByteReader(strings.NewReader(tt.in))
				}
				var out bytes.Buffer
				if err := tt.copy.Write(&out, in, when); err != nil || out.String() != tt.want {
					t.Errorf("%v\ngot  %q\nwant %q", err, out.String(), tt.want)
				}
			}
		})
	}
}

// Lines longer than the buffer stay whole, wherever it ends in them.
func TestCopyLongLines(t *testing.T) {
	for n := copyBuffer - 4; n < copyBuffer+4; n++ {
		line := strings.Repeat("x", n)
		var out bytes.Buffer
		err := (&Copy{Quote: true}).Write(&out, strings.NewReader(line+"\r\nFrom\r\n"+line+"From \r\n"), when)
		if want := line + "\nFrom\n" + line + "From \n"; err != nil || out.String() != want {
			t.Errorf("%d: %v, %d bytes instead of %d", n, err, out.Len(), len(want))
		}
	}
}

func FuzzCopy(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\nFrom me\r\n.\r\n"))
	f.Add([]byte("\r\r\n\nFrom"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		c := Copy{}.Mbox()
		if err := c.Write(&out, bytes.NewReader(in), when); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(append([]byte("\n"), out.Bytes()...), []byte("\nFrom ")); n != 1 {
			t.Errorf("%q: %d lines begin with From", in, n)
		}
		if !bytes.HasSuffix(out.Bytes(), []byte("\n\n")) {
			t.Errorf("%q: no empty line at the end: %q", in, out.Bytes())
		}
	})
}

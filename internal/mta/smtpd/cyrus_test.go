package smtpd

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzSASLAuthdAnswer reads anything as an answer of saslauthd.
func FuzzSASLAuthdAnswer(f *testing.F) {
	f.Add([]byte("\x00\x02OK"))
	f.Add([]byte("\x00\x1aNO authentication failed  "))
	f.Add([]byte("\xff\xffOK"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, err := readSASLAuthd(bytes.NewReader(b))
		if err == nil && (len(answer) > maxSASLAuthdAnswer || !bytes.Equal(answer, b[2:2+len(answer)])) {
			t.Errorf("%q gives %q", b, answer)
		}
	})
}

// FuzzCyrusFile reads anything as the file of a SASL application.
func FuzzCyrusFile(f *testing.F) {
	f.Add([]byte("pwcheck_method: saslauthd\n# comment\nmech_list: PLAIN LOGIN\n"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		options, err := parseCyrus(b)
		for name := range options {
			if err == nil && (name == "" || strings.ContainsAny(name, " \t\n:")) {
				t.Errorf("%q gives the option %q", b, name)
			}
		}
	})
}

// The file is looked for where main.cf says, and then where distributions have it.
func TestCyrusFiles(t *testing.T) {
	files := CyrusFiles("/a:/b", "/etc/postfix", "smtpd")
	want := "/a/smtpd.conf /b/smtpd.conf /etc/postfix/sasl/smtpd.conf /etc/sasl2/smtpd.conf"
	if got := strings.Join(files, " "); !strings.HasPrefix(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
}

package smtp

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const allExtensions = ExtSize | Ext8BitMIME | ExtDSN | ExtSMTPUTF8 | ExtAuth | ExtXVERP

func TestParseMailArgs(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Mail
		kind ArgErrorKind
	}{
		{in: "FROM:<a@b>", want: Mail{From: "a@b", Size: -1}, kind: noArgError},
		{in: "from: a@b  SIZE=10 BODY=8BITMIME smtputf8", want: Mail{From: "a@b", Size: 10, Body: Body8BitMIME, SMTPUTF8: true}, kind: noArgError},
		{in: "FROM:<> RET=HDRS ENVID=QQ314159", want: Mail{Size: -1, Ret: RetHeaders, EnvID: "QQ314159"}, kind: noArgError},
		{in: "FROM:<a@b> AUTH=e+3Dmc2@example.com", want: Mail{From: "a@b", Size: -1, Auth: "e+3Dmc2@example.com"}, kind: noArgError},
		{in: "FROM:<a@b> AUTH=<> AUTH=a\x00\xff\tb", kind: BadOption},
		{in: "FROM:<a@b> AUTH=<> AUTH=a\x00\xffb", want: Mail{From: "a@b", Size: -1, Auth: "a??b"}, kind: noArgError},
		{in: "FROM:<a@b> ENVID=a+2Bb+00+0A", want: Mail{From: "a@b", Size: -1, EnvID: "a+2Bb"}, kind: noArgError},
		{in: "FROM:<a@b> XVERP=-=", want: Mail{From: "a@b", Size: -1, XVERP: "-="}, kind: noArgError},
		{in: `FROM:<"a b> "@c> SIZE=1`, want: Mail{From: "a b> @c", Size: 1}, kind: noArgError},
		{in: "", kind: BadSyntax},
		{in: "FROM:", kind: BadSyntax},
		{in: "FROM <a@b>", kind: BadSyntax},
		{in: "TO:<a@b>", kind: BadSyntax},
		{in: "FROM:<a b>", kind: BadAddress},
		{in: "FROM:<a> SIZE=", kind: BadSize},
		{in: "FROM:<a> SIZE=99999999999999999999", kind: BadSize},
		{in: "FROM:<a> SIZE", kind: BadOption},
		{in: "FROM:<a> BODY=BINARYMIME", kind: BadOption},
		{in: "FROM:<a> RET=X", kind: BadRet},
		{in: "FROM:<a> ENVID=+", kind: BadEnvID},
		{in: "FROM:<a> ENVID=a+0Ab", kind: BadEnvID},
		{in: "FROM:<a> ENVID=a ENVID=b", kind: BadEnvID},
		{in: "FROM:<a> AUTH=x AUTH=<> AUTH=y", kind: DuplicateAuth},
		{in: "FROM:<a> XVERP=ab", kind: BadXVERP},
		{in: "FROM:<> XVERP", kind: NullXVERP},
	} {
		got, err := ParseMailArgs([]byte(tt.in), allExtensions)
		checkArgs(t, tt.in, err, tt.kind)
		if diff := cmp.Diff(tt.want, got); tt.kind == noArgError && diff != "" {
			t.Errorf("%q:\n%s", tt.in, diff)
		}
	}
	if _, err := ParseMailArgs([]byte("FROM:<a@b> SIZE=1"), 0); err == nil {
		t.Error("SIZE is taken although it was not announced")
	}
}

func TestParseRcptArgs(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Rcpt
		kind ArgErrorKind
	}{
		{in: "TO:<a@b>", want: Rcpt{To: "a@b"}, kind: noArgError},
		{in: "TO:<@x:a@b> NOTIFY=SUCCESS,failure ORCPT=rfc822;a+2Bb@c", want: Rcpt{To: "a@b", Routed: true, Notify: NotifySuccess | NotifyFailure, ORcpt: "rfc822;a+b@c"}, kind: noArgError},
		{in: `TO:<a@b> ORCPT=utf-8;\x{E4}\x{5C}+@c`, want: Rcpt{To: "a@b", ORcpt: `utf-8;ä\+@c`}, kind: noArgError},
		{in: `TO:<a@b> ORCPT=UTF-8;\x{110000}`, kind: BadORcpt},
		{in: `TO:<a@b> ORCPT=utf-8;\x{E4`, kind: BadORcpt},
		{in: "TO:<a@b> ORCPT=rfc822;a+00b", want: Rcpt{To: "a@b", ORcpt: "rfc822;a"}, kind: noArgError},
		{in: "TO:<>", kind: BadAddress},
		{in: "TO:<a> NOTIFY=NEVER,DELAY", kind: BadNotify},
		{in: "TO:<a> NOTIFY=DELAY,", kind: BadNotify},
		{in: "TO:<a> ORCPT=foo", kind: BadORcpt},
		{in: "TO:<a> SIZE=1", kind: BadOption},
	} {
		got, err := ParseRcptArgs([]byte(tt.in), allExtensions)
		checkArgs(t, tt.in, err, tt.kind)
		if diff := cmp.Diff(tt.want, got); tt.kind == noArgError && diff != "" {
			t.Errorf("%q:\n%s", tt.in, diff)
		}
	}
}

func checkArgs(t *testing.T, in string, err error, want ArgErrorKind) {
	t.Helper()
	var arg *ArgError
	switch {
	case err == nil && want != noArgError:
		t.Errorf("%q: no error, want %s", in, argErrorText[want])
	case err != nil && (!errors.As(err, &arg) || arg.Kind != want):
		t.Errorf("%q: %v", in, err)
	}
}

func TestReplyAppend(t *testing.T) {
	r := Reply{Code: 550, Enhanced: Enhanced{5, 1, 10}, Text: "one\ntwo"}
	if got := string(r.Append(nil)); got != "550-5.1.10 one\r\n550 5.1.10 two\r\n" {
		t.Errorf("got %q", got)
	}
	if got := r.Error(); got != "550 5.1.10 one two" {
		t.Errorf("got %q", got)
	}
}

func TestParseEnhanced(t *testing.T) {
	for in, want := range map[string]string{
		"5.1.1 text": "5.1.1", "4.7.25": "4.7.25", "2.0.0": "2.0.0",
		"5.1": "", "3.0.0": "", "5.1.1x": "", "5..1": "", "5.1.1000": "",
	} {
		e, n := ParseEnhanced(in)
		if got := in[:n]; got != want || n > 0 && e.String() != want {
			t.Errorf("ParseEnhanced(%q) = %v, %d", in, e, n)
		}
	}
}

func TestXtext(t *testing.T) {
	for _, s := range []string{"", "plain", "a+b=c d", "\x00\xff"} {
		got, ok := ParseXtext([]byte(Xtext(s)))
		if !ok || got != s {
			t.Errorf("%q becomes %q and %q", s, Xtext(s), got)
		}
	}
	if _, ok := ParseXtext([]byte("a+4")); ok {
		t.Error("cut xtext is taken")
	}
}

func FuzzArgs(f *testing.F) {
	for _, s := range []string{
		"FROM:<a@b> SIZE=1 BODY=7BIT RET=FULL ENVID=x AUTH=<>", "TO:<a@b> NOTIFY=SUCCESS ORCPT=rfc822;x", "from:\"a b\"@c", "FROM:<a XVERP",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		verb, args := ParseCommand(line)
		if len(verb)+len(args) > len(line) {
			t.Fatalf("%q: more than there was: %q %q", line, verb, args)
		}
		for _, in := range [][]byte{line, args} {
			m, err := ParseMailArgs(in, allExtensions)
			if err == nil && m.Size < -1 {
				t.Errorf("%q: size %d", in, m.Size)
			}
			r, err := ParseRcptArgs(in, allExtensions)
			if err == nil && r.To == "" {
				t.Errorf("%q: empty recipient", in)
			}
		}
	})
}

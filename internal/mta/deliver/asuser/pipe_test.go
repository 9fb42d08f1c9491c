package asuser

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

func entryOf(args string) *postfix.ServiceEntry {
	return &postfix.ServiceEntry{Name: "test", Type: "unix", Command: "pipe", Args: strings.Fields(args)}
}

func TestParsePipe(t *testing.T) {
	got, err := ParsePipe(entryOf(`flags=DRhuq. user=vmail:mail directory=/d chroot=/c eol=\r\n null_sender= size=1000 argv=/bin/x -f ${sender} user=root`))
	want := &PipeEntry{
		User: "vmail", Group: "mail", Directory: "/d", Chroot: "/c", EOL: "\r\n", Size: 1000,
		Command: []string{"/bin/x", "-f", "${sender}", "user=root"}, Delivered: true, ReturnPath: true, Dot: true,
		FoldHost: true, FoldUser: true, QuoteAddress: true,
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for args, want := range map[string]string{
		"argv=/bin/x":                    "missing user= command-line attribute",
		"user=x":                         "missing argv= command-line attribute",
		"user=x flags=Z argv=y":          "unknown flag: Z (ignored)",
		"user=x size=-1 argv=y":          "get_service_attr: bad size= value: -1",
		"user=x color=red argv=y":        "unknown attribute name: color=red",
		"user=x flags=DRhu extra argv=y": "unknown attribute name: extra",
	} {
		if _, err := ParsePipe(entryOf(args)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func FuzzParsePipe(f *testing.F) {
	f.Add(`flags=DRhu user=vmail eol=\r\n\012\x argv=/bin/x ${recipient}`)
	f.Add(`user=a:b size=9 argv=x`)
	f.Fuzz(func(t *testing.T, args string) {
		p, err := ParsePipe(entryOf(args))
		if err == nil && (p.User == "" || len(p.Command) == 0 || p.Size < 0) {
			t.Errorf("%q: %+v", args, p)
		}
	})
}

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		text, shell string
		want        []string
	}{
		{"/bin/prog -a b", "", []string{"/bin/prog", "-a", "b"}},
		{"/bin/prog >file", "", []string{"/bin/sh", "-c", "/bin/prog >file"}},
		{"$HOME/x", "", []string{"/bin/sh", "-c", "$HOME/x"}},
		{"/bin/prog", "/bin/bash -c", []string{"/bin/bash", "-c", "/bin/prog"}},
		{" ", "", []string{"/bin/sh", "-c", " "}},
	} {
		c := &command{text: tt.text}
		c.words(tt.shell)
		if diff := cmp.Diff(tt.want, c.argv); diff != "" {
			t.Errorf("%q: %s", tt.text, diff)
		}
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"home": "/home/joe", "user": "joe", "extension": "a/b$user`"}
	for _, tt := range []struct{ text, want string }{
		{"$home/.forward", "/home/joe/.forward"},
		{"$home/.forward+${extension}", "/home/joe/.forward+a/b_user_"},
		{"${extension?yes}${none:no}", "yesno"},
	} {
		if got, err := Expand(tt.text, vars, "abcdefghijklmnopqrstuvwxyz/."); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", tt.text, got, err)
		}
	}
	if _, err := Expand("$none/x", vars, ""); err == nil {
		t.Error("no error for a name without value")
	}
	if usesExtension("$home/.forward${extension?x}", vars) || !usesExtension("$home/.forward+$extension", vars) {
		t.Error("use of the extension")
	}
}

func TestExited(t *testing.T) {
	for _, tt := range []struct {
		code                int
		output              string
		dsn, reason, detail string
	}{
		{67, "", "5.1.1", "user unknown", "user unknown"},
		{75, "busy ", "4.3.0", "temporary failure. Command output: busy ", "busy "},
		{3, "", "5.3.0", `Command died with status 3: "cmd"`, "unknown mail system error 3"},
		{1, "4.2.2 full ", "4.2.2", "full ", "full "},
		{1, "4.2 full", "5.3.0", `Command died with status 1: "cmd". Command output: 4.2 full`, "4.2 full"},
	} {
		var r Reply
		(&command{text: "cmd"}).exited(tt.code, tt.output, &r)
		if r.DSN != tt.dsn || r.Reason != tt.reason || r.Detail != tt.detail {
			t.Errorf("%d %q: %+v", tt.code, tt.output, r)
		}
	}
	if got := printable("a\tb\nc\x01\x7f\xffé"); got != "a b c___é" {
		t.Errorf("%q", got)
	}
}

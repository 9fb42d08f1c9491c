package service

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestScriptArguments(t *testing.T) {
	s, err := parseScript(strings.Fields("-e HOME,USER -e TZ /bin/prog first"))
	if err != nil || !slices.Equal(s.envs, []string{"HOME", "USER", "TZ"}) || !slices.Equal(s.program, []string{"/bin/prog", "first"}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", "-p", "-x /bin/prog", "-e"} {
		if _, err := parseScript(strings.Fields(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestScriptHeader(t *testing.T) {
	const hello = "VERSION\tscript\t4\t0\n"
	text, err := readScriptHeader(strings.NewReader(hello + "alarm=5\nenv_USER=a\x01tb\nnoreply\none\ntwo\x01n2\n\ninput"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := parseScriptHeader(text)
	if err != nil || req.alarm != 5*time.Second || !req.noReply || !slices.Equal(req.envs, []string{"USER=a\tb"}) || !slices.Equal(req.args, []string{"one", "two\n2"}) {
		t.Errorf("%+v, %v", req, err)
	}
	for _, bad := range []string{"VERSION\tscript\t3\t0\n-\n\n", hello + "\n", hello + "alarm=x\n-\n\n", hello + "env_x\n-\n\n", hello + "-\n"} {
		text, err := readScriptHeader(strings.NewReader(bad))
		if err == nil {
			_, err = parseScriptHeader(text)
		}
		if err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := readScriptHeader(strings.NewReader(strings.Repeat("x", 2*maxScriptHeader))); err == nil {
		t.Error("an endless line is taken")
	}
}

func FuzzScriptHeader(f *testing.F) {
	f.Add("VERSION\tscript\t4\t0\nalarm=5\nenv_A=b\nnoreply\none\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		if req, err := parseScriptHeader(text); err == nil && req.alarm < 0 {
			t.Errorf("%+v", req)
		}
	})
}

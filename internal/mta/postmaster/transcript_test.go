package postmaster

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Whatever is said, a notice has the beginning and the end of it, within bounds.
func TestTranscriptIsBounded(t *testing.T) {
	var tr Transcript
	for i := range 100000 {
		tr.In(fmt.Appendf(nil, "line %d of a client that does not stop", i))
		if len(tr.text) > maxTranscript {
			t.Fatalf("%d bytes after %d lines", len(tr.text), i)
		}
	}
	tr.Out(bytes.Repeat([]byte("x"), 2*maxTranscript))
	tr.In([]byte("the last line"))
	text := string(tr.appendTo(nil))
	for _, want := range []string{" In:  line 0 of", " lines are left out]\r\n", " In:  the last line\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the transcript", want)
		}
	}
	shown := strings.Count(text, "In:  ") + strings.Count(text, "Out: ")
	if tr.Lines() != 100002 || shown+tr.lost != tr.Lines() {
		t.Errorf("%d lines said, %d shown and %d left out", tr.Lines(), shown, tr.lost)
	}
}

func TestHideAuth(t *testing.T) {
	for line, want := range map[string]string{
		"AUTH PLAIN AHVzZXIAc2VjcmV0":        "AUTH PLAIN [not shown]",
		" auth\tLOGIN  dXNlcg== x":           "auth LOGIN [not shown]",
		"AUTH LOGIN":                         "AUTH LOGIN",
		"AUTH":                               "AUTH",
		"AUTHENTICATE PLAIN c2VjcmV0":        "AUTHENTICATE PLAIN c2VjcmV0",
		"MAIL FROM:<a@example.test> AUTH=<>": "MAIL FROM:<a@example.test> AUTH=<>",
	} {
		if got, _ := HideAuth([]byte(line)); string(got) != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func FuzzTranscript(f *testing.F) {
	f.Add([]byte("EHLO a\nMAIL FROM:<>\n"), 3)
	f.Add([]byte("a\r\n.\r\nb\x00\xff\xc3\xa9 \t  "+strings.Repeat("word ", 100)), 500)
	f.Fuzz(func(t *testing.T, line []byte, n int) {
		var tr Transcript
		for range max(0, n) % 2000 {
			tr.In(line)
		}
		if len(tr.text) > maxTranscript {
			t.Fatalf("%d bytes", len(tr.text))
		}
		for part := range strings.Lines(string(tr.appendTo(nil))) {
			body, ok := strings.CutSuffix(part, "\r\n")
			if !ok || !strings.HasPrefix(body, " ") || strings.ContainsAny(body, "\r\n\x00") {
				t.Fatalf("line %q", part)
			}
		}
	})
}

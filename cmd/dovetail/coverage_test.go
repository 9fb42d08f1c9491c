package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestDocumentsAreUpToDate(t *testing.T) {
	for file, args := range map[string][]string{
		"coverage.md":         nil,
		"settings/dovecot.md": {"dovecot"},
		"settings/postfix.md": {"postfix"},
	} {
		want, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		var got, stderr bytes.Buffer
		if status := coverage(args, nil, &got, &stderr); status != 0 {
			t.Fatalf("coverage %v: status %d: %s", args, status, &stderr)
		}
		if line := difference(string(want), got.String()); line != "" {
			t.Errorf("docs/%s is not up to date, run make docs: %s", file, line)
		}
	}
}

// difference describes the first line in which two texts differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		var l, m string
		if i < len(x) {
			l = x[i]
		}
		if i < len(y) {
			m = y[i]
		}
		if l != m {
			return "line " + strconv.Itoa(i+1) + " is " + strconv.Quote(l) + ", should be " + strconv.Quote(m)
		}
	}
	return ""
}

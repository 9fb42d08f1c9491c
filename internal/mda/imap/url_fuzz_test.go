package imap

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var quotedURL = regexp.MustCompile(`url "([^"]*)"`)

// FuzzMessageURL reads arbitrary text as the URL of a part: what is taken names a mailbox and a message, and its
// section is one that FETCH knows.
func FuzzMessageURL(f *testing.F) {
	files, err := filepath.Glob("testdata/*/catenate*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal("no dialogues", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range quotedURL.FindAllSubmatch(data, -1) {
			f.Add(string(m[1]))
		}
	}
	f.Add("/%49NBOX;UIDVALIDITY=1/;UID=1/;SECTION=1.HEADER.FIELDS%20(A%20B)/;PARTIAL=1.2")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseMessageURL(text, nil)
		if err != nil {
			if u != nil {
				t.Errorf("%q: %v with %+v", text, err, u)
			}
			return
		}
		if u.mailbox == "" || u.uid == 0 || !u.section.peek {
			t.Errorf("%q is %+v", text, u)
		}
		u.section.cut(100)
	})
}

// FuzzFilter reads arbitrary text as the keys that a filter stands for.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{"unseen", `or from "x" (subject {1+}`, "filter a", "uid 1:*", "1:3", "$", `text "`, "~{3+}\r\nabc"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		args, err := filterArgs(text)
		if err != nil || len(args) == 0 {
			return
		}
		p := searchParser{many: true, args: args, charset: "UTF-8", lookUp: func(string) (string, error) { return text, nil }}
		if k, err := p.all(); (k == nil) == (err == nil) {
			t.Errorf("%q gives %v, %v", text, k, err)
		}
	})
}

package virtual

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// env is that of a user with the namespaces "" and "virtual/", and none with "none/".
var env = Env{Self: "virtual/Me", HasNamespace: func(name string) bool { return !strings.HasPrefix(name, "none/") }}

func TestParse(t *testing.T) {
	text := "# mail of the last days\nINBOX\n+Work/*\n-Work/Old\n  unseen\n\tsince 1-Jan-2020\n\n" +
		"!Drafts\r\n/private/comment:keep*\n-/Shared/x:y:z\n%\n all\nNo rule\n"
	want := &Config{Save: 3, Mailboxes: []Mailbox{
		{Name: "INBOX", Rule: " unseen since 1-Jan-2020"},
		{Name: "Work/*", Pattern: true, ClearRecent: true, Rule: " unseen since 1-Jan-2020"},
		{Name: "Work/Old", Exclude: true, Rule: " unseen since 1-Jan-2020"},
		{Name: "Drafts", Rule: " all"},
		{Entry: "/private/comment", Value: "keep*", Rule: " all"},
		{Entry: "/Shared/x", Value: "y:z", Exclude: true, Rule: " all"},
		{Name: "%", Pattern: true, Rule: " all"},
		{Name: "No rule"},
	}}
	got, err := Parse(strings.NewReader(text), &env)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "No mailboxes defined",
		"# nothing\n\n":                          "No mailboxes defined",
		"/private/comment:x\n":                   "No mailboxes defined",
		"# a rule\n all\n":                       "Error at line 2: Search rule without a mailbox",
		"INBOX\n all\n\n unseen\n":               "Error at line 4: Search rule without a mailbox",
		"A\n!B\n!C\n":                            "Error at line 3: Multiple save mailboxes defined",
		"A\nvirtual/Me\n":                        "Error at line 2: Virtual mailbox can't point to itself",
		"none/A\n":                               "Error at line 1: Namespace not found for none/A",
		"A\xff\n":                                "Error at line 1: Mailbox name not UTF-8: A\xff",
		"/private/comment\n":                     "Error at line 1: ':' separator missing between metadata entry name and value",
		"/other/comment:x\n":                     "Error at line 1: Entry name must begin with /private or /shared",
		"/private//comment:x\n":                  "Error at line 1: Entry name can't contain consecutive '/'",
		"/private/:x\n":                          "Error at line 1: Entry name can't end with '/'",
		"-/private/*:x\n":                        "Error at line 1: Entry name can't contain '*'",
		"/private/a\tb:x\n":                      "Error at line 1: Entry name can't contain control chars",
		"A\n" + strings.Repeat("#\n", maxSize/2): errTooLarge.Error(),
	} {
		if _, err := Parse(strings.NewReader(text), &env); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// FuzzParse looks that whatever is in a file, each mailbox has either a name or an annotation, and that
// what is saved goes to one that there is.
func FuzzParse(f *testing.F) {
	f.Add([]byte("INBOX\n+Work/*\n-Work/Old\n  unseen\n\n!Drafts\n/private/comment:x\n all\n"))
	f.Add([]byte("!\n+\n-\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := Parse(strings.NewReader(string(text)), &env)
		if err != nil {
			var line *LineError
			if errors.As(err, &line) && (line.Line < 1 || line.Line > strings.Count(string(text), "\n")+1) {
				t.Errorf("%v, which there is not", err)
			}
			return
		}
		if cfg.Save >= len(cfg.Mailboxes) || len(cfg.Mailboxes) == 0 {
			t.Errorf("saves in mailbox %d of %d", cfg.Save, len(cfg.Mailboxes))
		}
		for _, m := range cfg.Mailboxes {
			if m.Entry != "" && m.Name != "" || m.Name == env.Self {
				t.Errorf("%+v", m)
			}
		}
	})
}

package aliases

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parseCases are lists and what the destinations of Postfix 3.7's local(8) are.
var parseCases = []struct {
	name, text string
	want       []string
}{
	{"commas", "a,b , c", []string{"a", "b", "c"}},
	{"blanks between words", "a b\tc\n", []string{"a", "b", "c"}},
	{"addresses", "joe@example.com jane@example.com", []string{"joe@example.com", "jane@example.com"}},
	{"quoted command", `"|/bin/cat > /f", joe`, []string{"|/bin/cat > /f", "joe"}},
	{"quote after the bar", `|"/bin/prog -a b"`, []string{"|/bin/prog -a b"}},
	{"unquoted command with blanks", "|/bin/cat > /f", []string{"|/bin/cat", "/f"}},
	{"file and include", "/var/mail/x, :include:/etc/list", []string{"/var/mail/x", ":include:/etc/list"}},
	{"quoted include", `":include:/etc/a b"`, []string{":include:/etc/a b"}},
	{"backslash", `\joe, "\\jane"`, []string{"joe", `\jane`}},
	{"name and angle brackets", `"Joe, Sr." <joe@example.com>, Jane <jane> jim`, []string{"joe@example.com", "jane", "jim"}},
	{"comments", "joe (the (real) one), (nobody) jane", []string{"joe", "jane"}},
	{"group", "friends: joe, jane;, jim", []string{"joe", "jane", "jim"}},
	{"literal", "joe@[127.0.0.1]", []string{"joe@[127.0.0.1]"}},
	{"blank in a local part", `"joe doe"@example.com`, []string{"joe doe@example.com"}},
	{"bang and percent", "a!b, c%d", []string{"a!b", "c%d"}},
	{"home", "~/Mail/x", []string{"~/Mail/x"}},
	{"nothing", " , (comment) ,", nil},
	{"empty brackets", "<>", nil},
	{"unended quote", `"joe`, []string{"joe"}},
	{"trailing backslash", `joe\`, []string{"joe"}},
}

func TestParse(t *testing.T) {
	for _, tt := range parseCases {
		t.Run(tt.name, func(t *testing.T) {
			if got := Parse(tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("Parse(%q) = %q, want %q", tt.text, got, tt.want)
			}
		})
	}
}

func TestParseManyMembers(t *testing.T) {
	const members = 100000
	got := Parse(strings.Repeat("someone@example.com, ", members))
	if len(got) != members || got[0] != "someone@example.com" || got[members-1] != "someone@example.com" {
		t.Errorf("%d members, first %q", len(got), got[0])
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range parseCases {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size := 0
		for _, d := range Parse(text) {
			if d == "" && !strings.ContainsAny(text, `"\[`) {
				t.Errorf("%q has an empty destination", text)
			}
			size += len(d)
		}
		if size > len(text)+strings.Count(text, "[") {
			t.Errorf("%q: %d bytes of destinations", text, size)
		}
	})
}

func TestOwnerOf(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Getuid())
	for _, tt := range []struct {
		spec string
		want Owner
	}{
		{"texthash:" + mine, Owner{true, uid}},
		{"proxy:texthash:" + mine, Owner{true, uid}},
		{"inline:{a=b}", Owner{Known: true}},
		{"tcp:localhost:1", Owner{}},
		{"ldap:people", Owner{Known: true}},
		{"unionmap:{static:x, texthash:" + mine + "}", Owner{true, uid}},
		{"pipemap:{tcp:x, static:y}", Owner{}},
	} {
		if got, err := OwnerOf(tt.spec, nil); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.spec, got, err)
		}
	}
	if _, err := OwnerOf("hash:"+mine, nil); err == nil {
		t.Error("no error for a database that is not there")
	}
}

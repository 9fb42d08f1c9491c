package acl

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t *testing.T, text string) List {
	t.Helper()
	l, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestFormat shows the text of lists, as Dovecot writes it.
func TestFormat(t *testing.T) {
	const text = "anyone l\n\"group=the group\" lr\nowner akxeilprwts\nuser=bob ilr\nuser=carl l :custom\nuser=dave l\n-user=dave xw\n"
	if diff := cmp.Diff(text, string(mustParse(t, text).Append(nil))); diff != "" {
		t.Error(diff)
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"user=bob lq\n":           "line 1: Unknown ACL 'q'",
		"# x\n\nbob lr\n":         "line 3: Unknown ID 'bob'",
		"\"user=bob lr\n":         "line 1: Invalid quoted ID",
		"user=bob lr x\n":         "line 1: Missing ':' prefix in ACL extensions",
		"ownerx lr\n":             "line 1: Unknown ID 'ownerx'",
		"anyone lr\nanyone2 lr\n": "line 2: Unknown ID 'anyone2'",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestRights shows who may do what: the rules are those of package documentation.
func TestRights(t *testing.T) {
	bob := &Identity{User: "bob", Groups: []string{"staff", "ops"}}
	owner := &Identity{User: "bob", Owner: true}
	nobody := &Identity{}
	tests := []struct {
		name string
		who  *Identity
		list string
		want []string
	}{
		{"nothing said", bob, "user=eve lr\n", nil},
		{"owner, nothing said", owner, "user=eve lr\n", AllNames()},
		{"anyone does not take from the owner", owner, "anyone l\n", AllNames()},
		{"owner", owner, "owner lr\n", []string{"lookup", "read"}},
		{"owner by name", owner, "owner lr\nuser=bob l\n", []string{"lookup"}},
		{"user before anyone", bob, "anyone lrw\nuser=bob l\n", []string{"lookup"}},
		{"groups add up", bob, "group=ops l\ngroup=staff r\n", []string{"lookup", "read"}},
		{"group-override before user", bob, "user=bob lrw\ngroup-override=ops l\n", []string{"lookup"}},
		{"negative", bob, "user=bob lrw\n-user=bob r\n", []string{"lookup", "write"}},
		{"negative of anyone stays", bob, "-anyone r\nuser=bob lrw\n", []string{"lookup", "write"}},
		{"nobody is not authenticated", nobody, "authenticated lr\n", nil},
		{"a name that is empty", nobody, "user= lr\n", nil},
		{"other rights", bob, "user=bob l :custom\n", []string{"lookup", "custom"}},
	}
	for _, tt := range tests {
		s, known := mustParse(t, tt.list).Rights(tt.who)
		if !known {
			s = tt.who.Default()
		}
		if !slices.Equal(s.Names(), tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, s.Names(), tt.want)
		}
	}
	if s, _ := Locked().Rights(owner); len(s.Names()) > 0 {
		t.Errorf("a list that may not be read gives the owner %v", s.Names())
	}
}

func TestGlobal(t *testing.T) {
	g, err := ParseGlobal("* user=bob l\n\"a b*\" user=bob lr\nPublic/? owner lr\nno anyone l\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"a b c": {"lookup", "read"}, "x": {"lookup"}, "Public/ab": {"lookup"}} {
		local := mustParse(t, "user=bob lrwstipekxa\n-user=bob l\n")
		s, _ := local.With(g.For(name)).Rights(&Identity{User: "bob"})
		if !slices.Equal(s.Names(), want) {
			t.Errorf("%s: %v, want %v", name, s.Names(), want)
		}
	}
	for _, text := range []string{"x\n", " owner l\n", "\"x owner l\n", "\"x\"owner l\n"} {
		if _, err := ParseGlobal(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("owner lr\n-user=x l :a,b\n\"group=a \\\"b\" w\n")
	f.Fuzz(func(t *testing.T, text string) {
		ParseGlobal(text) //nolint:errcheck // it must not fail otherwise
		l, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(string(l.Append(nil)))
		if err != nil {
			t.Fatalf("%q was written as %q: %v", text, l.Append(nil), err)
		}
		for _, who := range []*Identity{{User: "x"}, {User: "x", Owner: true}, {User: "x", Groups: []string{"a", "b"}}} {
			a, _ := l.Rights(who)
			b, _ := again.Rights(who)
			if a.Bits != b.Bits {
				t.Fatalf("%q gives %v, and written anew %v", text, a.Names(), b.Names())
			}
		}
	})
}

package store

import (
	"context"
	"testing"
)

// The mail of a public namespace was made by another user. The first to come after him has no
// directories of his own yet for what he keeps apart.
func TestDirectoriesApartAreMade(t *testing.T) {
	home := t.TempDir()
	const namespaces = "mail_location = sdbox:~/mail\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n" +
		"namespace public {\n  type = public\n  prefix = Public/\n  separator = /\n  location = maildir:%h/public"
	ctx := context.Background()
	first := openTestUser(t, namespaces+"\n}\n", home)
	if err := first.Create(ctx, "Public/one"); err != nil {
		t.Fatal(err)
	}
	second := openTestUser(t, namespaces+":INDEX=%h/index:CONTROL=%h/control:INDEXPVT=%h/private\n}\n", home)
	if err := second.Subscribe(ctx, "Public/one"); err != nil {
		t.Error(err)
	}
	if err := second.Create(ctx, "Public/two"); err != nil {
		t.Error(err)
	}
	third := openTestUser(t, namespaces+":INDEX=%h/index3:CONTROL=%h/control3:INDEXPVT=%h/private3\n}\n", home)
	if err := third.Create(ctx, "Public/three"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"Public/one", "Public/two"} {
		if _, err := third.Status(ctx, name, false); err != nil {
			t.Error(err)
		}
	}
}

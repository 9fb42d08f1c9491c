package mdbox

import (
	"os"
	"path/filepath"
	"testing"
)

// With LAYOUT=index the directories of mailboxes have GUIDs as names and nothing in between.
func TestBoxesNamedByGUID(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a3bdc127521a036b2262000083ecc375", "no guid", "..DOVECOT-TrasH/a3bdc127521a036b2262000083ecc375"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := Boxes{Dir: dir, IndexDir: "/index"}
	got, err := b.list()
	want := boxFiles{"a3bdc127521a036b2262000083ecc375", "/index/a3bdc127521a036b2262000083ecc375"}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

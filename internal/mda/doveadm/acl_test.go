package doveadm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const aclConf = `
mail_plugins = acl
plugin {
  acl = vfile:~/global
  acl_groups = staff
  acl_shared_dict = file:~/shared
}
`

// TestACLIsThatOfTheOriginal compares what both programs say about access lists, and the files that
// they leave.
func TestACLIsThatOfTheOriginal(t *testing.T) {
	for _, location := range []string{"sdbox:~/mail", "maildir:~/Maildir"} {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			path := filepath.Join(a.home(), "global")
			a.must(os.WriteFile(path, []byte("Empty -group=staff e\nW* user=kim lr :custom\n"), 0o644))
			a.appendConf(aclConf)
			b := a.clone()
			for _, args := range readCommands(t, "acl.txt") {
				both(t, a, b, "", args...)
			}
			if diff := cmp.Diff(a.aclFiles(), b.aclFiles()); diff != "" {
				t.Errorf("files (-original +ours):\n%s", diff)
			}
		})
	}
}

// aclFiles are the access lists, and the dictionary, as they are on disk.
func (h *home) aclFiles() map[string]string {
	h.t.Helper()
	files := map[string]string{}
	h.must(filepath.WalkDir(h.home(), func(path string, _ os.DirEntry, err error) error {
		if name := filepath.Base(path); err != nil || name != "dovecot-acl" && name != "shared" {
			return err
		}
		text, err := os.ReadFile(path)
		files[path[len(h.dir):]] = sortedLines(string(text))
		return err
	}))
	return files
}

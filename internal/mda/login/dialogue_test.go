package login

import (
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/login/dialogue"
)

// TestDialogues runs the scripts in testdata against this server and, where it
// can be run, the original.
func TestDialogues(t *testing.T) {
	for _, service := range []string{"imap", "pop3"} {
		files, err := filepath.Glob(filepath.Join("testdata", service, "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts for %s: %v", service, err)
		}
		for _, file := range files {
			s := dialogue.Load(t, file)
			name := service + "/" + filepath.Base(file)
			if s.Only != "original" {
				t.Run("ours/"+name, func(t *testing.T) {
					t.Parallel()
					s.Run(t, newTestServer(t, service, s.Config))
				})
			}
			if s.Only != "ours" && dialogue.HaveOriginal() {
				t.Run("original/"+name, func(t *testing.T) {
					t.Parallel()
					s.Run(t, dialogue.StartOriginal(t, service, s.Config))
				})
			}
		}
	}
}

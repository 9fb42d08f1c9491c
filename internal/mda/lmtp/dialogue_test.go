package lmtp

import (
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/login/dialogue"
)

// TestDialogues runs the scripts in testdata against this server and, where it
// can be run, the original.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		s := dialogue.Load(t, file)
		if s.Only != "original" {
			t.Run("ours/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				s.Run(t, newTestServer(t, s.Config, nil))
			})
		}
		if s.Only != "ours" && dialogue.HaveOriginal() {
			t.Run("original/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				s.Run(t, dialogue.StartOriginal(t, "lmtp", s.Config))
			})
		}
	}
}

package clients

import (
	"os"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// both runs a test beside the original.
func both(t *testing.T, test func(t *testing.T, p harness.Program)) {
	for _, p := range []harness.Program{harness.Dovetail, harness.Original} {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

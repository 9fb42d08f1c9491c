package switching

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// refuse has Postfix running: its queue is left alone, by the service and by the
// export.
func refuse(t *testing.T, tr *harness.Transport) {
	t.Helper()
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"postfix", "-c", tr.Config, "start-fg"}, ""}, // it says so in the log
		{[]string{"export-queue", "-c", tr.Config}, "the mail system is running: stop it first"},
	} {
		out, err := harness.Try("", harness.Binary(t), tc.args...)
		if err == nil || !strings.Contains(out, tc.want) {
			t.Errorf("%q: %v\n%s", tc.args, err, out)
		}
	}
	log, err := os.ReadFile(tr.Log)
	if err != nil || !strings.Contains(string(log), "fatal: the Postfix mail system is already running") {
		t.Errorf("%v, the log does not say that Postfix runs:\n%s", err, log)
	}
	if entries, _ := os.ReadDir(filepath.Join(tr.Dir, "spool/segments")); len(entries) > 0 {
		t.Errorf("a queue was opened: %v", entries)
	}
}

package master

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestStartSlack(t *testing.T) {
	usual, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		slack time.Duration
		want  string
	}{
		{time.Millisecond, "1000000"},
		{0, strings.TrimSpace(string(usual))}, // not what was left of the one before
		{2 * time.Millisecond, "2000000"},
	} {
		var out strings.Builder
		cmd := exec.Command("cat", "/proc/self/timerslack_ns")
		cmd.Stdout = &out
		if err := startSlack(cmd, test.slack); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()); got != test.want {
			t.Errorf("%v: timer slack of %s ns, want %s", test.slack, got, test.want)
		}
	}
}

package conf

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

var (
	seeds = flag.Int("seeds", 50, "how many random configurations of each kind to try")
	first = flag.Uint64("seed", 1, "the first seed")
)

// A result is what a program did.
type result struct {
	stdout, stderr string
	status         int
}

// realTimeout is far beyond what the originals take for any configuration.
const realTimeout = time.Minute

// runReal runs one of the originals. A missing one fails the test.
func runReal(t *testing.T, dir, stdin, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), realTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("%s: %v: run test/install-packages", name, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// A tool is one of our programs.
type tool func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

func runOurs(main tool, args ...string) result {
	var stdout, stderr bytes.Buffer
	status := main(args, strings.NewReader(""), &stdout, &stderr)
	return result{stdout.String(), stderr.String(), status}
}

// TestMain makes both programs see the same environment, whoever runs the test,
// and gives ours the defaults of the packages that the originals come from.
func TestMain(m *testing.M) {
	flag.Parse()
	flavor.Name = "debian"
	// Postfix's programs sleep for a second after a fatal error.
	if err := flag.Set("test.parallel", "24"); err != nil {
		panic(err)
	}
	os.Clearenv()
	for name, value := range map[string]string{
		"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C", "CONF_TEST": "from the environment",
	} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

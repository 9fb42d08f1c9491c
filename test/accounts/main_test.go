package accounts

import (
	"flag"
	"os"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	// Tests here wait most of their time, for answers that failures delay.
	flag.Set("test.parallel", "8") //nolint:errcheck // it exists
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

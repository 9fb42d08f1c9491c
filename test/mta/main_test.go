package mta

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	// Postfix's commands wait more than they work.
	flag.Set("test.parallel", "6") //nolint:errcheck // it exists
	if os.Geteuid() == 0 {
		removeUsers() // that an interrupted run has left
		makeUsers()
		defer removeUsers()
	}
	m.Run()
	harness.CleanUp()
}

// users are those of the machine; their uids follow each other.
var users = []string{"dvtma", "dvtmb"}

const firstUID = 21400

// makeUsers makes them, without homes.
func makeUsers() {
	for i, name := range users {
		if out, err := harness.Try("", "useradd", "-M", "-d", "/nonexistent", "-u", strconv.Itoa(firstUID+i), "-s", "/bin/sh", name); err != nil {
			panic(out)
		}
	}
}

func removeUsers() {
	for _, name := range users {
		harness.Try("", "userdel", name) //nolint:errcheck // mostly there is none
	}
}

// read returns the content of a file.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

package plugins

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/test/harness"
)

var update = flag.Bool("update", false, "write what the real Dovecot does into testdata")

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// A script is one file of testdata.
type script struct {
	path, name string
	archive    *txtar.Archive
}

func load(t *testing.T) (scripts []script) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, script{path, strings.TrimSuffix(filepath.Base(path), ".txtar"), archive})
	}
	return scripts
}

// file returns a file of the script, which must be there unless it is what Dovecot is asked for.
func (s *script) file(t *testing.T, name string) string {
	for _, f := range s.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	if name != "want" || !*update {
		t.Fatalf("%s has no file %s", s.path, name)
	}
	return ""
}

// TestPlugins plays all scripts on one server, each as a user of its own.
func TestPlugins(t *testing.T) {
	program := harness.Dovetail
	if *update {
		program = harness.Original
	}
	scripts := load(t)
	mb := start(t, program, scripts)
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			got := play(t, mb, s.name, s.file(t, "play"))
			if *update {
				s.write(t, got)
			} else if diff := cmp.Diff(s.file(t, "want"), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// write replaces what the script wants.
func (s *script) write(t *testing.T, want string) {
	files := s.archive.Files[:0]
	for _, f := range s.archive.Files {
		if f.Name != "want" {
			files = append(files, f)
		}
	}
	s.archive.Files = append(files, txtar.File{Name: "want", Data: []byte(want)})
	if err := os.WriteFile(s.path, txtar.Format(s.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// start starts a server whose users are those of the scripts.
func start(t *testing.T, program harness.Program, scripts []script) *harness.Mailbox {
	config, err := os.ReadFile("testdata/dovecot.conf")
	if err != nil {
		t.Fatal(err)
	}
	mb := harness.NewMailbox(t, program, harness.MailboxOptions{Extra: string(config)})
	var users strings.Builder
	for _, s := range scripts {
		home := filepath.Join(mb.Mail, s.name)
		if err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, mailUID, mailUID)); err != nil {
			t.Fatal(err)
		}
		users.WriteString(address(s.name) + ":{PLAIN}" + harness.Password + ":8:8::" + home + "::")
		for field := range strings.Lines(s.file(t, "user")) {
			users.WriteString("userdb_" + strings.ReplaceAll(strings.TrimSpace(field), "DIR", mb.Dir) + " ")
		}
		users.WriteString("\n")
	}
	harness.Write(t, filepath.Join(mb.Dir, "trash"), "# priority and mailbox\n1 Spam\n1 Junk\n2 Trash\n3 Missing\n")
	mb.SetUsers(t, users.String())
	mb.Start(t)
	return mb
}

// mailUID is the user "mail" of Debian, who owns all mail.
const mailUID = 8

func address(name string) string { return name + "@" + harness.Domain }

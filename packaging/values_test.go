package packaging

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/doveconf"
	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postconf"

	// Linking a package declares its settings.
	_ "github.com/dovetail-mail/dovetail/internal/mda/service"
	_ "github.com/dovetail-mail/dovetail/internal/mta"
)

func TestMain(m *testing.M) {
	flavor.Name = "debian" // that of the originals the tests compare with
	os.Exit(m.Run())
}

// install copies our files to a directory that stands for the root, with paths
// changed accordingly by edit, which may be nil.
func install(t *testing.T, edit func(path, text string) string) (root string) {
	t.Helper()
	root = t.TempDir()
	err := fs.WalkDir(Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(root, path)
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := Files.ReadFile(path)
		if err != nil {
			return err
		}
		if edit != nil {
			text = []byte(edit(path, string(text)))
		}
		return os.WriteFile(to, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

type tool func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

// programs are the original and our program of a name.
func programs(t *testing.T, name string) map[string]tool {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	ours := tool(doveconf.Main)
	if name == "postconf" {
		ours = (&postconf.Tool{}).Main
	}
	return map[string]tool{
		"dovetail": ours,
		"original": func(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
			cmd := exec.Command(path, args...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
			cmd.Run()
			return cmd.ProcessState.ExitCode()
		},
	}
}

// output runs a program, which must succeed, and returns what it printed but
// for comments and the lines that begin with one of the words.
func output(t *testing.T, run tool, args []string, but ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(args, strings.NewReader(""), &stdout, &stderr); status != 0 {
		t.Fatalf("%v: status %d: %s", args, status, &stderr)
	}
	var out strings.Builder
	for line := range strings.Lines(stdout.String()) {
		if name, _, _ := strings.Cut(line, " "); name != "#" && !slices.Contains(but, name) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// Dovecot finds these out when it prints them.
var capabilities = []string{"managesieve_notify_capability", "managesieve_sieve_capability"}

func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDovecotValuesAreRHELs(t *testing.T) {
	root := install(t, nil)
	for name, run := range programs(t, "doveconf") {
		got := output(t, run, []string{"-n", "-c", root + "/etc/dovecot/dovecot.conf"}, capabilities...)
		if diff := cmp.Diff(golden(t, "doveconf-n.txt"), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestPostfixValuesAreRHELs(t *testing.T) {
	root := install(t, nil)
	for name, run := range programs(t, "postconf") {
		got := output(t, run, []string{"-n", "-c", root + "/etc/postfix"}, "config_directory")
		if diff := cmp.Diff(golden(t, "postconf-n.txt"), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// examples are settings that our files show with a value that is not the
// default, and say so; those of services, listeners and plugins that are
// built in with other values are among them. rhel are defaults of RHEL that Debian
// does not have.
var (
	examples = []string{
		"quota", "quota2", "quota_rule", "quota_rule2", "quota2_rule", "quota_grace", "quota_max_mail_size", "quota_warning", "quota_warning2",
		"acl", "acl_shared_dict", "vsz_limit", "setting_name", "ssl_dh", "executable", "auth_socket_path",
		"sieve_default", "sieve_before", "sieve_before2", "sieve_before3", "sieve_after2", "sieve_extensions",
		"args", "driver", "default_fields", "override_fields",
		"mail_cache_min_mail_count", "submission_backend_capabilities", // printed only when they are set
	}
	rhel = []string{"protocols", "login_greeting", "mail_plugin_dir", "mbox_write_locks", "managesieve_implementation_string"}
)

// Taking away the "#" of a setting leaves the configuration as it is. Plugins
// and protocols have no defaults of their own to compare with.
func TestCommentedValuesAreDefaults(t *testing.T) {
	plain, all := install(t, nil), install(t, uncomment)
	for name, run := range programs(t, "doveconf") {
		want := output(t, run, []string{"-a", "-c", plain + "/etc/dovecot/dovecot.conf"}, capabilities...)
		got := output(t, run, []string{"-a", "-c", all + "/etc/dovecot/dovecot.conf"}, capabilities...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func uncomment(path, text string) string {
	if !strings.HasSuffix(path, ".conf") || strings.HasSuffix(path, "director.conf") { // its listeners are closed by default
		return text
	}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "#") && strings.HasSuffix(line, "{") || strings.HasPrefix(line, "plugin {") || strings.HasPrefix(line, "protocol ") {
			i = sectionEnd(lines, i)
			continue
		}
		m := commented.FindStringSubmatch(line)
		if m == nil || slices.Contains(examples, m[1]) || slices.Contains(rhel, m[1]) || line == "#port =" || line == "#user = root" {
			continue
		}
		lines[i] = line[1:]
		for strings.HasSuffix(lines[i], "\\") {
			i++
			lines[i] = strings.TrimPrefix(lines[i], "#")
		}
	}
	return strings.Join(lines, "\n")
}

// sectionEnd returns the line that ends the section, commented out or not,
// that begins at line i.
func sectionEnd(lines []string, i int) int {
	for depth := 0; ; i++ {
		switch bare := strings.TrimLeft(lines[i], "# "); {
		case strings.HasSuffix(bare, "{"):
			depth++
		case bare == "}":
			depth--
		}
		if depth == 0 {
			return i
		}
	}
}

package doveconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExec has both programs run env with the settings in its environment.
func TestExec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dovecot.conf")
	text := "mail_debug = yes\nplugin {\n  quota = count\n}\npassdb {\n  driver = pam\n}\nimport_environment = TZ FOO=bar\n" +
		"namespace x {\n  mailbox \"a b\" {\n    auto = create\n  }\n}\nlogin_greeting = $mail_plugins x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		env  []string
		args []string
	}{
		{"all", nil, nil},
		{"module", nil, []string{"-m", "auth"}},
		{"clean", []string{preserveEnv + "=HOME"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append(append([]string{"-c", path}, tt.args...), "-e", "env")
			env := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/h", "TZ=UTC", "NOISE=1"}, tt.env...)
			want := environment(t, exec.Command("doveconf", args...), env)
			got := environment(t, exec.Command(os.Args[0], args...), append(env, asDoveconf+"=1"))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, args := range [][]string{{"-e", "/nonexistent/x"}, {"-e", "no-such-program"}} {
		want := original(t, append([]string{"-c", path}, args...)...).comparable()
		if diff := cmp.Diff(want, doveconf(append([]string{"-c", path}, args...)...).comparable()); diff != "" {
			t.Error(diff)
		}
	}
}

// environment returns what env prints, sorted.
func environment(t *testing.T, cmd *exec.Cmd, env []string) []string {
	t.Helper()
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, asDoveconf) || strings.HasPrefix(l, "MANAGESIEVE_") || strings.HasPrefix(l, "_=")
	})
	slices.Sort(lines)
	return lines
}

package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// multiCall are the names under which the binary is a command.
var multiCall = []string{
	"dovetail", "dovecot", "doveadm", "postfix", "postqueue", "mailq", "postsuper", "postcat", "postmap",
	"postconf", "sendmail", "postlog", "postlock", "postkick", "postmulti",
}

// The scripts run the commands of one binary under all their names, with a
// Postfix configuration in $WORK/etc that nothing serves.
func TestScripts(t *testing.T) {
	binary := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		WorkdirRoot:        harness.Dir(t), // mail_owner can enter it
		Setup:              func(env *testscript.Env) error { return prepare(env, binary) },
	})
}

// prepare makes the commands and the configuration of a script.
func prepare(env *testscript.Env, binary string) error {
	if err := os.Chmod(env.WorkDir, 0o755); err != nil {
		return err
	}
	bin := filepath.Join(env.WorkDir, "bin")
	for _, dir := range []string{"bin", "etc", "spool"} {
		if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range multiCall {
		if err := os.Symlink(binary, filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"main.cf": fmt.Sprintf(scriptConfig, env.WorkDir), "master.cf": scriptServices} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, "etc", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	env.Setenv("PATH", bin+":/usr/bin:/bin")
	env.Setenv("MAIL_CONFIG", filepath.Join(env.WorkDir, "etc"))
	return nil
}

const scriptConfig = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
mail_owner = postfix
myhostname = mail.example.test
inet_interfaces = 127.0.0.1
smtpd_sasl_type = dovecot
`

const scriptServices = `127.0.0.1:2525 inet n - n - - smtpd
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
`

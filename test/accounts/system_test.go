package accounts

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// systemUser makes a user of the machine with a password, until the end of the test.
func systemUser(t *testing.T, name, password string, options ...string) {
	t.Helper()
	if _, err := user.Lookup(name); err == nil {
		harness.Run(t, "", "userdel", name)
	}
	harness.Run(t, "", "useradd", append(append([]string{"-M", "-d", "/nonexistent/" + name, "-s", "/usr/sbin/nologin"}, options...), name)...)
	t.Cleanup(func() { harness.Try("", "userdel", name) })
	if password != "" {
		harness.Run(t, name+":"+password+"\n", "chpasswd")
	}
}

// TestSystemUsers is procedure 1.1.4 and more: users of the machine log in by PAM, and
// are found through the name service switch.
func TestSystemUsers(t *testing.T) {
	t.Parallel()
	service := fmt.Sprintf("dovetail-test-%d", os.Getpid())
	path := filepath.Join("/etc/pam.d", service)
	harness.Write(t, path, "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n")
	t.Cleanup(func() { os.Remove(path) })
	systemUser(t, "dvtlpam", "pam secret", "-u", "21001")
	systemUser(t, "dvtlold", "old secret", "-u", "21002")
	harness.Run(t, "", "chage", "-E", "1970-01-10", "dvtlold")
	systemUser(t, "dvtlnopw", "", "-u", "21003")
	requests := `AUTH dvtlpam / pam secret
AUTH dvtlpam / wrong
AUTH dvtlpam /
AUTH DvtlPam / pam secret
AUTH dvtlold / old secret
AUTH dvtlold / wrong
AUTH dvtlnopw / x
AUTH nosuch / x
AUTH root / x
USER dvtlpam
USER nosuch
USER root
PASS dvtlpam
`
	for name, config := range map[string]string{
		"pam": "passdb {\n  driver = pam\n  args = session=yes setcred=yes failure_show_msg=yes " + service + "\n}\n" +
			"userdb {\n  driver = passwd\n  override_fields = uid=mail gid=mail home=/var/mail/%n/\n}\n",
		"pam, service missing": "passdb {\n  driver = pam\n  args = " + service + "-none\n}\nuserdb {\n  driver = passwd\n}\n",
		"shadow":               "passdb {\n  driver = shadow\n}\nuserdb {\n  driver = passwd\n}\n",
		"passwd":               "passdb {\n  driver = passwd\n}\nuserdb {\n  driver = passwd\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"dovecot.conf": "auth_verbose = yes\n" + config, "requests": requests}
			theirs, ours := play(t, harness.Original, files), play(t, harness.Dovetail, files)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
			if ok := strings.HasPrefix(ours[1], "OK\t"); ok != (name != "passwd") {
				t.Errorf("%q", ours[1])
			}
		})
	}
}

// All users of the machine are listed whose uid is in the range.
func TestListSystemUsers(t *testing.T) {
	t.Parallel()
	systemUser(t, "dvtllist", "", "-u", "21010")
	answers := play(t, harness.Dovetail, map[string]string{
		"dovecot.conf": "first_valid_uid = 21010\nlast_valid_uid = 21010\npassdb {\n  driver = pam\n}\nuserdb {\n  driver = passwd\n}\n",
		"requests":     "LIST\n",
	})
	if want := []string{"LIST", "LIST\t1\tdvtllist", "DONE\t1\t"}; !cmp.Equal(answers, want) {
		t.Errorf("%q", answers)
	}
}

package accounts

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Of several directory servers the first may be dead: the next one answers, who gives the
// wrong password is told so, and where all are dead it is a temporary failure.
func TestFirstDirectoryDead(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadFile("testdata/directory.ldif")
	if err != nil {
		t.Fatal(err)
	}
	alive := harness.StartSlapd(t, string(entries)).URI
	refusing := fmt.Sprintf("ldap://127.0.0.1:%d", harness.FreePort(t))
	hole := "ldap://" + blackHole(t)
	const requests = "AUTH luser1 / ldappass\nAUTH luser1 / wrong\nUSER luser1\nAUTH luser1 / \nAUTH luser2 / ldappass\n"
	for name, tt := range map[string]struct {
		first    string
		programs []harness.Program
	}{
		"refuses": {refusing, []harness.Program{harness.Original, harness.Dovetail}},
		// For this one the original waits as long as its LDAP library does.
		"black hole": {hole, []harness.Program{harness.Dovetail}},
	} {
		for kind, bind := range map[string]string{
			"search": "auth_bind = yes\npass_filter = (uid=%u)\n",
			"DN":     "auth_bind = yes\nauth_bind_userdn = uid=%u,ou=People,dc=example,dc=com\n",
			"lookup": "pass_filter = (uid=%u)\npass_attrs = uid=user,userPassword=password\n",
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				var first []string
				for _, program := range tt.programs {
					config := func(uris string) map[string]string {
						return map[string]string{
							"dovecot.conf": ldapPassdb, "requests": requests,
							"ldap.conf.ext": "uris = " + uris + "\ndn = cn=dovecot,dc=example,dc=com\ndnpass = dovesecret\nbase = dc=example,dc=com\n" + bind,
						}
					}
					one := answersOnly(play(t, program, config(alive)))
					two := answersOnly(play(t, program, config(tt.first+" "+alive)))
					if strings.Join(one, "\n") != strings.Join(two, "\n") {
						t.Errorf("%v: with one server %q, with a dead one before it %q", program, one, two)
					}
					if !strings.HasPrefix(two[1], "OK\t") || !strings.HasPrefix(two[3], "FAIL\t") || strings.Contains(two[3], "temp_fail") {
						t.Errorf("%v: %q", program, two)
					}
					if first == nil {
						first = two
					}
					if strings.Join(first, "\n") != strings.Join(two, "\n") {
						t.Errorf("Dovecot %q, Dovetail %q", first, two)
					}
				}
			})
		}
	}
}

// answersOnly leaves out the log lines.
func answersOnly(answers []string) []string {
	const requests = 5
	return answers[:2*requests]
}

// blackHole returns the address of a server that takes connections and says nothing.
func blackHole(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

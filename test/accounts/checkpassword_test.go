package accounts

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// checkpasswordProgram is one with a way of its own for each user.
const checkpasswordProgram = `#!/bin/sh
request=$(tr '\0' '\n' <&3; echo .)
user=$(echo "$request" | sed -n 1p)
password=$(echo "$request" | sed -n 2p)
if [ "$AUTHORIZED" = 1 ]; then
	case "$user" in nobody) exit 3;; esac
	export AUTHORIZED=2
	password=secret
fi
known='^(AUTH_|TCP|PROTO=|SERVICE=|LOCAL_IP=|REMOTE_IP=|MASTER_USER=|SCHEME=|CREDENTIALS_LOOKUP=|AUTHORIZED=|ORIG_UID=)'
case "$user" in
nobody) exit 1;;
temporary) exit 111;;
strange) exit 42;;
userdb) exit 2;;
killed) kill -9 $$;;
silent) exit 0;;
nul) printf 'a\0b' >&4; exit 0;;
line) printf 'a\nb' >&4; exit 0;;
escaped) printf 'user=renamed\tnologin\treason=one\001ttwo\t\tuserdb_x=y\t' >&4; exit ${AUTHORIZED:-0};;
environment)
	printf 'nologin=1\treason=%s\tuserdb_environment=%s\t' "$(env | grep -E "$known" | sort | tr '\n' ';')" "$(env | grep -E "$known" | sort | tr '\n' ';')" >&4
	exit ${AUTHORIZED:-0};;
arguments) printf 'reason=%s\t' "$*" | sed 's,/[^ ]*/checkpassword-reply,REPLY,' >&4; exit ${AUTHORIZED:-0};;
esac
[ "$password" = secret ] || exit 1
export USER="$user" HOME="/srv/$user" userdb_uid=8 userdb_gid=9 EXTRA="userdb_uid userdb_gid missing"
case "$user" in
plain) password='{PLAIN}secret'; export password EXTRA="$EXTRA password";;
bare) password='secret'; export password EXTRA="$EXTRA password";;
changed) USER=Other;;
ownid) EXTRA=;;
nobodysuid) unset ORIG_UID;;
wronguid) ORIG_UID=4242;;
insecure) ORIG_UID=4242; export INSECURE_SETUID=1;;
tab) HOME="/srv	x";;
esac
for last; do :; done
exec "$last"
`

const checkpasswordRequests = `AUTH alice / secret
AUTH alice / wrong
AUTH alice /
AUTH nobody / secret
AUTH temporary / secret
AUTH strange / secret
AUTH userdb / secret
AUTH killed / secret
AUTH silent / secret
AUTH nul / secret
AUTH line / secret
AUTH escaped / secret
AUTH environment / secret
AUTH arguments / secret
AUTH plain / secret
AUTH bare / secret
AUTH changed / secret
AUTH nobodysuid / secret
AUTH wronguid / secret
AUTH insecure / secret
AUTH tab / secret
CRAM-MD5 plain / secret
CRAM-MD5 plain / wrong
CRAM-MD5 alice / secret
CRAM-MD5 nobody / secret
CRAM-MD5 temporary / secret
USER alice
USER nobody
USER temporary
USER strange
USER silent
USER escaped
USER environment
USER ownid
PASS alice
PASS plain
PASS nobody
PASS temporary
PASS environment
LIST
`

// childID is the process id of a program in a log line.
var childID = regexp.MustCompile(`Child \d+`)

// TestCheckpassword plays every way in which a checkpassword program can end.
func TestCheckpassword(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	program := filepath.Join(dir, "checkpassword")
	harness.Write(t, program, checkpasswordProgram)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for name, scenario := range map[string]struct{ config, requests string }{
		"program": {"auth_mechanisms = plain cram-md5\npassdb {\n  driver = checkpassword\n  args = " + program + "\n}\nuserdb {\n  driver = checkpassword\n  args = " + program + " %n fixed\n}\n", checkpasswordRequests},
		"prefetch": {"passdb {\n  driver = checkpassword\n  args = " + program + " %s %{rip}\n}\nuserdb {\n  driver = prefetch\n}\nuserdb {\n  driver = static\n  args = uid=8 gid=8 home=/srv/%n\n}\n",
			"AUTH arguments / secret\nAUTH alice / secret\nUSER alice\nUSER nobody\nUSER temporary\n"},
		"missing": {"passdb {\n  driver = checkpassword\n  args = " + missing + "\n}\nuserdb {\n  driver = checkpassword\n  args = " + missing + "\n}\n", "AUTH alice / secret\nUSER alice\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"dovecot.conf": "auth_verbose = yes\n" + scenario.config, "requests": scenario.requests}
			var answers [2][]string
			for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
				for _, line := range play(t, p, files) {
					if name == "missing" && strings.HasPrefix(line, "auth: ") {
						continue // Dovecot's child dies with a line of its own
					}
					answers[i] = append(answers[i], childID.ReplaceAllString(line, "Child N"))
				}
			}
			if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

package service

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/test/harness"
)

const tlsMain = `compatibility_level = 3.6
myhostname = mail.example.org
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/log
maillog_file_prefixes = /
`

// tlsRuns are configurations and what is asked for one after the other. NEWCERT and NEWKEY are the files made last, KEY and CERT
// others that fit each other, OTHER a key.
var tlsRuns = []struct {
	name, main string
	commands   []string
}{
	{"client", "", []string{"all-default-client", "enable-client -r dev:/dev/random", "enable-client"}},
	{"server", "", []string{"enable-server -a rsa mail.example.org mx.example.org", "output-server-tlsa -h x.example.org"}},
	{"server, ECDSA", "", []string{"new-server-key -a ecdsa -b secp384r1", "deploy-server-cert NEWCERT NEWKEY"}},
	{"new certificate", "smtpd_tls_key_file = KEY\nsmtpd_tls_cert_file = CERT\n", []string{"new-server-cert a.example.org b.example.org", "output-server-tlsa NEWKEY", "deploy-server-cert CERT OTHER"}},
	{"wrong", "", []string{"nonsense", "enable-server -x", "output-server-tlsa", "new-server-key -a dsa"}},
}

// TestTLSLikePostfix has our "postfix tls" and the real one do the same: the same files, the same main.cf, the same
// status, and certificates and requests that openssl finds the same in.
func TestTLSLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may run postfix")
	}
	for _, test := range tlsRuns {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := newTLSRun(t, test.main), newTLSRun(t, test.main)
			for _, command := range test.commands {
				want := theirs.real(t, command)
				got := ours.ours(t, command)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: -real +ours\n%s", command, diff)
				}
			}
		})
	}
}

type tlsRun struct{ dir string }

func newTLSRun(t *testing.T, main string) *tlsRun {
	r := &tlsRun{harness.Dir(t)}
	for _, sub := range []string{"etc", "spool", "data"} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", r.dir+"/key", "-out", r.dir+"/cert", "-subj", "/CN=mail.example.org")
	harness.Run(t, "", "openssl", "genrsa", "-out", r.dir+"/other", "2048")
	text := strings.NewReplacer("DIR", r.dir, "KEY", r.dir+"/key", "CERT", r.dir+"/cert").Replace(tlsMain + main)
	harness.Write(t, r.dir+"/etc/main.cf", text)
	r.age(t)
	return r
}

// age has main.cf look old: postconf waits before it changes a young one.
func (r *tlsRun) age(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(r.dir+"/etc/main.cf", old, old); err != nil {
		t.Fatal(err)
	}
}

func (r *tlsRun) args(command string) []string {
	newest := func(pattern string) string {
		all, _ := filepath.Glob(r.dir + "/etc/" + pattern) //nolint:errcheck // the pattern is well-formed
		if len(all) == 0 {
			return ""
		}
		return all[len(all)-1]
	}
	words := strings.NewReplacer("NEWCERT", newest("*cert-*"), "NEWKEY", newest("*key-*"), "KEY", r.dir+"/key", "CERT", r.dir+"/cert", "OTHER", r.dir+"/other")
	return strings.Fields(words.Replace(command))
}

func (r *tlsRun) real(t *testing.T, command string) string {
	out, err := harness.Try("", "sh", append([]string{"-c", `postfix -c "$0" tls "$@" 2>/dev/null`, r.dir + "/etc"}, r.args(command)...)...)
	return r.state(t, out, err == nil)
}

func (r *tlsRun) ours(t *testing.T, command string) string {
	main, err := postfix.Load(r.dir + "/etc")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var said []string
	tool := &tlsTool{dir: r.dir + "/etc", main: main, stdout: &out, now: time.Now(), say: func(_ maillog.Level, text string) { said = append(said, text) }}
	status := tool.command(r.args(command))
	if status != 0 && len(said) == 0 && !strings.HasPrefix(command, "all-default") {
		t.Errorf("%s fails without a word", command)
	}
	return r.state(t, out.String(), status == 0)
}

var (
	stamp   = regexp.MustCompile(`\d{8}-\d{6}`)
	digits  = regexp.MustCompile(`[0-9a-f]{64}`)
	request = regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE REQUEST.*`)
)

// state is what a command has left behind.
func (r *tlsRun) state(t *testing.T, out string, ok bool) string {
	t.Helper()
	text := fmt.Sprintf("ok: %v\n%s\n", ok, out)
	sorted := func(text string) string { // the order means nothing
		lines := slices.Sorted(strings.Lines(text))
		return strings.Join(lines, "")
	}
	main, err := os.ReadFile(r.dir + "/etc/main.cf")
	if err != nil {
		t.Fatal(err)
	}
	r.age(t)
	text += sorted(strings.Replace(string(main), "btree:", "lmdb:", 1)) // whichever is there
	files, err := os.ReadDir(r.dir + "/etc")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(r.dir, "etc", f.Name())
		text += fmt.Sprintf("%s %v\n", f.Name(), info.Mode())
		switch {
		case strings.Contains(f.Name(), "cert-"):
			text += sorted(harness.Run(t, "", "openssl", "x509", "-in", path, "-noout", "-subject", "-issuer", "-ext", "basicConstraints,extendedKeyUsage,subjectAltName"))
		case strings.Contains(f.Name(), "key-"):
			text += harness.Run(t, "", "sh", "-c", "openssl pkey -in "+path+" -noout -text_pub | grep -E 'bit|CURVE'")
		}
	}
	text = strings.ReplaceAll(text, r.dir, "DIR")
	return digits.ReplaceAllString(stamp.ReplaceAllString(text, "STAMP"), "DIGEST")
}

// What a request asks for is what the real one asks for.
func TestTLSRequestLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may run postfix")
	}
	r := newTLSRun(t, "smtpd_tls_key_file = KEY\n")
	for _, command := range []string{"output-server-csr", "output-server-csr -k KEY a.example.org b.example.org"} {
		show := func(text string) string {
			return harness.Run(t, request.FindString(text), "sh", "-c", "openssl req -noout -text | grep -A99 -E 'Subject:|Requested' | grep -v -i -E 'signature|identifier|[0-9A-F][0-9A-F]:[0-9A-F]' | sort")
		}
		if diff := cmp.Diff(show(r.real(t, command)), show(r.ours(t, command))); diff != "" {
			t.Errorf("%s: -real +ours\n%s", command, diff)
		}
	}
}

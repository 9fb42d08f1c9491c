package accounts

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// startSASLAuthd starts the real saslauthd, which asks the shadow file or PAM, and returns
// its socket.
func startSASLAuthd(t *testing.T, mechanism string) string {
	t.Helper()
	if _, err := os.Stat("/usr/sbin/saslauthd"); err != nil {
		t.Fatal("saslauthd is not installed: run test/install-packages")
	}
	dir := harness.Dir(t)
	p := harness.Start(t, nil, "/usr/sbin/saslauthd", "-d", "-a", mechanism, "-m", dir, "-n", "1")
	socket := filepath.Join(dir, "mux")
	harness.WaitSocket(t, p, socket)
	return socket
}

func encode(parts ...string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Join(parts, "\x00")))
}

// saslSessions are dialogues with USER, whose password is "sasl secret".
var saslSessions = [][]string{
	{"AUTH PLAIN " + encode("", "USER", "sasl secret"), "MAIL FROM:<a@example.com>", "RCPT TO:<b@example.com>"},
	{"AUTH PLAIN " + encode("", "USER", "wrong"), "AUTH PLAIN " + encode("", "nosuch", "x"), "AUTH PLAIN " + encode("", "USER", ""), "RCPT TO:<b@example.com>"},
	{"AUTH PLAIN " + encode("", "", "x"), "AUTH PLAIN " + encode("x"), "AUTH PLAIN " + encode("x", "y"), "AUTH PLAIN !!!", "AUTH PLAIN ="},
	{"AUTH PLAIN", encode("USER", "USER", "sasl secret")},
	{"AUTH PLAIN " + encode("other", "USER", "sasl secret"), "AUTH PLAIN " + encode("", "USER@example.net", "sasl secret")},
	{"AUTH LOGIN", encode("USER"), encode("sasl secret")},
	{"AUTH LOGIN " + encode("USER"), encode("wrong"), "AUTH LOGIN", encode("USER"), "!!"},
	{"AUTH LOGIN", "*", "AUTH PLAIN", "*", "AUTH CRAM-MD5", "AUTH EXTERNAL"},
}

// TestSASLAuthd is procedure 2.10.3 with the Cyrus type: the same dialogues with both
// programs, users of the machine, and saslauthd.
func TestSASLAuthd(t *testing.T) {
	t.Parallel()
	systemUser(t, "dvtlsasl", "sasl secret", "-u", "21020")
	socket, pam := startSASLAuthd(t, "shadow"), startSASLAuthd(t, "pam")
	for _, tt := range []struct{ name, config, options string }{
		{"no realm", "mech_list: PLAIN LOGIN\n", ""},
		{"realm", "mech_list: plain login\n", "smtpd_sasl_local_domain = example.com\n"},
		{"plain only", "# nothing else\n\nmech_list: PLAIN\n", ""},
		{"pam", "mech_list: PLAIN LOGIN\nsaslauthd_path: " + pam + "\n", ""},
		{"pam, TLS", "mech_list: PLAIN LOGIN\nsaslauthd_path: " + pam + "\n", startTLS},
		{"dead", "mech_list: PLAIN LOGIN\nsaslauthd_path: /nonexistent/mux\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := tt.config
			if !strings.Contains(config, "saslauthd_path") {
				config += "saslauthd_path: " + socket + "\n"
			}
			theirs := playSASL(t, harness.Original, "pwcheck_method: saslauthd\n"+config, tt.options)
			ours := playSASL(t, harness.Dovetail, "pwcheck_method: saslauthd\n"+config, tt.options)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Postfix +Dovetail)\n%s", diff)
			}
			in := strings.Contains(strings.Join(ours, "\n"), "S: 235 2.7.0 Authentication successful")
			if in != (tt.name != "dead") {
				t.Errorf("%q", ours)
			}
		})
	}
}

// playSASL returns the dialogues, and what was logged about them.
func playSASL(t *testing.T, program harness.Program, config, options string) []string {
	t.Helper()
	tr := harness.NewTransport(t, program, harness.TransportOptions{Main: "smtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\n" + options})
	main := filepath.Join(tr.Config, "main.cf")
	// The transport's own settings of another kind of server would come last.
	text := strings.Replace(readFile(t, main), "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n", "", 1)
	harness.Write(t, main, text+"cyrus_sasl_config_path = "+filepath.Join(tr.Config, "sasl")+"\n")
	harness.Write(t, filepath.Join(tr.Config, "sasl", "smtpd.conf"), config) // where Debian's Postfix looks, whatever main.cf says
	tr.Start(t)
	var all []string
	for _, commands := range saslSessions {
		if strings.HasPrefix(commands[0], "AUTH LOGIN") && !strings.Contains(strings.ToUpper(config), "LOGIN") {
			commands = []string{"AUTH LOGIN"}
		}
		all = append(all, saslDialogue(t, tr.Submission, options == startTLS, commands)...)
	}
	harness.Eventually(t, "the log of the last session", func() bool {
		n := 0
		for line := range strings.Lines(readFile(t, tr.Log)) {
			if strings.Contains(line, "submission/smtpd[") && strings.Contains(line, ": disconnect from ") {
				n++
			}
		}
		return n == len(saslSessions)
	})
	var warnings []string
	for line := range strings.Lines(readFile(t, tr.Log)) {
		if _, warning, ok := strings.Cut(line, ": warning: "); ok && strings.Contains(warning, "SASL") {
			warnings = append(warnings, strings.TrimSuffix(warning, "\n"))
		}
	}
	slices.Sort(warnings) // several processes write the log
	return append(all, warnings...)
}

// startTLS are options with which sessions go on with TLS.
const startTLS = "smtpd_tls_loglevel = 0\n"

func saslDialogue(t *testing.T, addr string, secure bool, commands []string) []string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l := newLineConn(c)
	l.until("220 ")
	if secure {
		l.ask("STARTTLS", "220 ")
		l = newLineConn(tls.Client(c, &tls.Config{InsecureSkipVerify: true})) //nolint:gosec // the test's own server
	}
	return authDialogue(l, commands)
}

// authDialogue says EHLO and the commands, and returns what is offered and answered.
func authDialogue(l *lineConn, commands []string) []string {
	offered := "no AUTH"
	l.ask("EHLO client.example", "")
	for {
		line := l.until("250")
		if rest, ok := strings.CutPrefix(line, "250-AUTH "); ok {
			offered = rest
		}
		if !strings.HasPrefix(line, "250-") {
			break
		}
	}
	all := []string{offered}
	for _, command := range commands {
		command = named(command)
		all = append(all, "C: "+command, "S: "+l.ask(command, ""))
	}
	l.ask("QUIT", "221")
	return all
}

// named puts the user's name into a command, and into base64.
func named(command string) string {
	words := strings.Fields(command)
	for i, word := range words {
		if text, err := base64.StdEncoding.DecodeString(word); err == nil {
			words[i] = base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(string(text), "USER", "dvtlsasl")))
		}
	}
	return strings.Join(words, " ")
}

// What Cyrus SASL could do and this does not keeps the service from starting.
func TestCyrusRefused(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		"mech_list: PLAIN\n": "pwcheck_method: auxprop is not supported",
		"pwcheck_method: auxprop\nauxprop_plugin: sasldb\n":  "pwcheck_method: auxprop is not supported",
		"pwcheck_method: saslauthd auxprop\n":                "pwcheck_method: saslauthd auxprop is not supported",
		"pwcheck_method: saslauthd\nmech_list: DIGEST-MD5\n": "saslauthd serves PLAIN and LOGIN only",
		"pwcheck_method saslauthd\n":                         "line 1: want \"name: value\"",
		"":                                                   "pwcheck_method: auxprop is not supported",
	} {
		tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
		main := filepath.Join(tr.Config, "main.cf")
		text := strings.Replace(readFile(t, main), "smtpd_sasl_type = dovecot\nsmtpd_sasl_path = private/auth\n", "smtpd_sasl_type = cyrus\n", 1)
		harness.Write(t, main, text)
		harness.Write(t, filepath.Join(tr.Config, "sasl", "smtpd.conf"), config)
		out, err := harness.Try("", harness.Binary(t), "postfix", "-c", tr.Config, "check")
		if !strings.Contains(out+readFile(t, tr.Log), want) {
			t.Errorf("%q: %v\n%s%s", config, err, out, readFile(t, tr.Log))
		}
	}
}

package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Settings of Dovecot without which users or clients would get more, or mail would be lost. Those
// that are wanted and are not there stop the start.
var unsupportedInDovecot = map[string]string{
	"disable_plaintext_auth = yes\nlogin_access_sockets = tcpwrap\n":  "clients it would refuse could log in",
	"protocol lmtp {\n  mail_plugins = $mail_plugins sieve\n}\n":      "mail would be delivered past the users' scripts",
	"protocol imap {\n  mail_plugins = $mail_plugins imap_sieve\n}\n": "mail_plugins: imap_sieve is not supported",
	"mail_plugins = notify replication\n":                             "mail would not be copied to the other server",
	"mail_plugins = apparmor\n":                                       "would not be confined",
	"service imap {\n  executable = imap postlogin\n}\n":              "users could log in past the script",
	"mail_nfs_storage = yes\nmmap_disable = yes\n":                    "changes by other machines would be overlooked",
	"login_plugins = own\n":                                           "logins they would refuse could succeed",
}

func TestDovecotRefusesToIgnore(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	good, err := os.ReadFile(mb.Config)
	if err != nil {
		t.Fatal(err)
	}
	for text, why := range unsupportedInDovecot {
		name, _, _ := strings.Cut(why, ":")
		t.Run(name, func(t *testing.T) {
			text = strings.NewReplacer("@DIR@", mb.Dir, "@PORT@", fmt.Sprint(harness.FreePort(t))).Replace(text)
			harness.Write(t, mb.Config, string(good)+text)
			output, status := attempt(t, harness.Binary(t), "dovecot", "-F", "-c", mb.Config)
			prefix := "doveconf: Fatal: Error in configuration file " + mb.Config + " line "
			if status != 89 || !strings.HasPrefix(output, prefix) || !strings.Contains(output, why) || !strings.HasSuffix(output, "remove it to start all the same\n") {
				t.Errorf("with\n%sstatus %d, it says %q; want %q", text, status, output, why)
			}
			nothingLeft(t, mb.Dir)
		})
	}
}

// What would do nothing is reported, once, and stops nothing.
func TestDovecotReportsWhatItIgnores(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: `
shutdown_clients = no
verbose_ssl = yes
mail_plugins = fts fts_lucene
plugin {
  fts = lucene
  fts_languages = en
}
service imap {
  vsz_limit = 1 G
}
`})
	for _, want := range []string{
		"setting shutdown_clients has no effect: a reload disconnects no client, a stop disconnects all",
		"setting verbose_ssl has no effect: why a TLS handshake failed is always logged",
		"setting mail_plugins has no effect: there is no plugin fts_lucene: the full-text index of the plugin fts is built in",
		"setting plugin/fts_languages has no effect: the full-text index has all words",
		"setting service/vsz_limit has no effect: the sizes of all input are limited one by one",
	} {
		harness.Eventually(t, want, func() bool { return strings.Contains(tail(mb.Log, 0), want) })
		if n := strings.Count(tail(mb.Log, 0), want); n != 1 {
			t.Errorf("%q is logged %d times", want, n)
		}
	}
}

// The same for parameters of Postfix: in main.cf, and as options in master.cf.
var unsupportedInPostfix = map[string]string{
	"smtpd_hide_client_session = yes": "Received headers would show clients' addresses",
}

// unsupportedPrograms are entries of master.cf, in whose place something else would be served.
var unsupportedPrograms = map[string]string{
	"127.0.0.1:@PORT@ inet n - n - - smtpd\n  -o smtpd_hide_client_session=yes\n": "-o smtpd_hide_client_session is not supported, and without it Received headers would show clients' addresses",
}

func TestPostfixRefusesToIgnore(t *testing.T) {
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
	good := map[string]string{}
	for _, name := range []string{"main.cf", "master.cf"} {
		content, err := os.ReadFile(filepath.Join(tr.Config, name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = string(content)
	}
	check := func(t *testing.T, file, text, why string) {
		for name, content := range good {
			harness.Write(t, filepath.Join(tr.Config, name), content)
		}
		text = strings.ReplaceAll(text, "@PORT@", fmt.Sprint(harness.FreePort(t)))
		add(t, filepath.Join(tr.Config, file), text)
		line := strings.Count(good[file], "\n") + 1
		where := map[string]string{"main.cf": "%s, line %d: ", "master.cf": "%s: line %d: "}[file]
		where = fmt.Sprintf(where, filepath.Join(tr.Config, file), line)
		output, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "check")
		if status != 1 || !strings.Contains(output, where) || !strings.Contains(output, why) {
			t.Errorf("with\n%sstatus %d, it says %q; want %q and %q", text, status, output, where, why)
		}
	}
	for text, why := range unsupportedInPostfix {
		name, _, _ := strings.Cut(text, " ")
		t.Run(name, func(t *testing.T) { check(t, "main.cf", text+"\n", why) })
		// An entry that is served, with the same as an option.
		if strings.HasPrefix(name, "smtpd_") {
			_, value, _ := strings.Cut(text, " = ")
			entry := fmt.Sprintf("127.0.0.1:@PORT@ inet n - n - - smtpd\n  -o {%s=%s}\n", name, value)
			t.Run("option "+name, func(t *testing.T) { check(t, "master.cf", entry, "-o "+name+" is not supported, and without it ") })
		}
	}
	for text, why := range unsupportedPrograms {
		t.Run(why, func(t *testing.T) { check(t, "master.cf", text, why) })
	}
	// What stops a check stops a start as well.
	refused(t, tr, "is not supported")
}

// Options that ask for nothing, and those of services that do not run, stop nothing. What has
// no effect is told by a check as by a start.
func TestPostfixReportsWhatItIgnores(t *testing.T) {
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "postscreen_watchdog_timeout = 20s\nsmtpd_tls_dh1024_param_file = /nonexistent\n",
		Master: fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd\n  -o lmtp_tls_per_site= -o smtpd_milters=$mua_milters\n", harness.FreePort(t)) +
			fmt.Sprintf("127.0.0.1:%d inet n - n - - qmqpd\n", harness.FreePort(t)) +
			"qmgr unix n - n 300 1 qmgr -o message_size_limit=7\nodd unix - - n - - spawn -o smtpd_milters=unix:x\n",
	})
	os.Remove(tr.Log)
	output, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "check")
	if status != 0 {
		t.Fatalf("status %d: %s", status, output)
	}
	wants := []string{
		"setting postscreen_watchdog_timeout has no effect: sessions do not wait for each other",
		"setting smtpd_tls_dh1024_param_file has no effect: keys are exchanged over elliptic curves only",
		"setting -o message_size_limit has no effect: the service runs with the parameters of main.cf",
		"has no effect: qmqpd is not available",
	}
	for _, want := range wants {
		harness.Eventually(t, want, func() bool { return strings.Contains(tail(tr.Log, 0), want) })
		if strings.Count(output, want) != 1 || strings.Count(tail(tr.Log, 0), want) != 1 {
			t.Errorf("%q is not said and logged once:\n%s\n%s", want, output, tail(tr.Log, 0))
		}
	}
	for _, not := range []string{"smtpd_milters", "lmtp_tls_per_site"} {
		if strings.Contains(output, not) {
			t.Errorf("%s asks for nothing:\n%s", not, output)
		}
	}
	os.Remove(tr.Log)
	tr.Start(t)
	for _, want := range wants {
		logged(t, tr.Log, want, 0)
	}
}

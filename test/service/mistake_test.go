package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// attempt runs a command that should fail soon, and returns what it says and its
// exit status. It has no terminal unless one is asked for.
func attempt(t *testing.T, name string, args ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// A file, because Dovecot in the background keeps a pipe open.
	f, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	output = tail(f.Name(), 0)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Errorf("%s %s does not end:\n%s", name, strings.Join(args, " "), output)
		return output, -1
	case errors.As(err, &exit):
		return output, exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return output, 0
}

// nothingLeft checks that a service that did not start has left no socket.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && (d.Type() == fs.ModeSocket || d.Name() == "master.pid" && strings.Contains(path, "run")) {
			t.Errorf("%s is left over", path)
			os.Remove(path)
		}
		return nil
	})
}

// dovecotMistakes are lines that are wrong in dovecot.conf.
var dovecotMistakes = map[string]string{
	"unknown setting":            "no_such_setting = x\n",
	"unknown setting in section": "service lmtp {\n  no_such = x\n}\n",
	"unknown section":            "nonsense {\n}\n",
	"unknown protocol":           "protocols = imap gopher\n",
	"section not closed":         "service imap-login {\n  process_limit = 10\n",
	"one brace too many":         "}\n",
	"no value":                   "just some words\n",
	"enum":                       "mail_fsync = sometimes\n",
	"enum in section":            "namespace inbox {\n  type = odd\n}\n",
	"boolean":                    "disable_plaintext_auth = maybe\n",
	"number":                     "default_process_limit = many\n",
	"negative number":            "default_client_limit = -5\n",
	"size":                       "mdbox_rotate_size = 10 X\n",
	"time":                       "auth_failure_delay = 2 parsecs\n",
	"time without unit":          "imap_idle_notify_interval = 5\n",
	"port":                       "service imap-login {\n  inet_listener imap {\n    port = 99999\n  }\n}\n",
	"mode":                       "service lmtp {\n  unix_listener lmtp {\n    mode = 0z66\n  }\n}\n",
	"missing file of a value":    "ssl_cert = </nonexistent/cert.pem\n",
	"missing include":            "!include nonexistent.conf\n",
	"mistake in an include":      "!include bad.inc\n",
	"user":                       "default_internal_user = nosuchuser\n",
	"user of a socket":           "service lmtp {\n  unix_listener lmtp {\n    user = nosuchuser\n  }\n}\n",
	"group of a socket":          "service lmtp {\n  unix_listener lmtp {\n    group = nosuchgroup\n  }\n}\n",
	"socket twice":               "service lmtp {\n  unix_listener auth-client {\n    mode = 0600\n  }\n}\n",
	"unknown variable":           "mail_location = $nosuch\n",
}

// A mistake in dovecot.conf is told as Dovecot tells it.
func TestMistakesInDovecotConf(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	good, err := os.ReadFile(mb.Config)
	if err != nil {
		t.Fatal(err)
	}
	harness.Write(t, filepath.Join(mb.Dir, "bad.inc"), "\n# a comment\nlog_paht = x\n")
	for name, text := range dovecotMistakes {
		t.Run(name, func(t *testing.T) {
			harness.Write(t, mb.Config, string(good)+text)
			want, wantStatus := attempt(t, "/usr/sbin/dovecot", "-F", "-c", mb.Config)
			// Plugins of Debian's Dovecot read the file, too, and say the same before it.
			if lines := strings.SplitAfter(want, "\n"); len(lines) > 2 && strings.Contains(want, "dump-capability") {
				want = lines[len(lines)-2]
			}
			nothingLeft(t, mb.Dir)
			got, status := attempt(t, harness.Binary(t), "dovecot", "-F", "-c", mb.Config)
			nothingLeft(t, mb.Dir)
			if got != want || status != wantStatus {
				t.Errorf("Dovetail says, with status %d,\n%s\nDovecot, with status %d,\n%s", status, got, wantStatus, want)
			}
			if wantStatus == 0 {
				t.Error("Dovecot sees no mistake")
			}
		})
	}
}

// terminal runs a command at a terminal of its own, where Postfix's commands say
// what they otherwise only log.
func terminal(t *testing.T, command ...string) (output string, status int) {
	t.Helper()
	out, status := attempt(t, "script", "-qec", strings.Join(command, " "), "/dev/null")
	return strings.ReplaceAll(out, "\r\n", "\n"), status
}

// fatal is the last reason that Postfix gives.
var fatal = regexp.MustCompile(`(?m)^.*?fatal: (.*)$`)

// refused checks that the transport does not start, for a reason that is shown
// or logged, and that nothing of it is left.
func refused(t *testing.T, tr *harness.Transport, reason string) {
	t.Helper()
	os.Remove(tr.Log)
	output, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "start")
	if status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := tail(tr.Log, 0); !strings.Contains(output, reason) && !strings.Contains(log, reason) {
		t.Errorf("no %q in\n%s\nor the log\n%s", reason, output, log)
	}
	if status == 0 {
		terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "stop")
	}
	nothingLeft(t, tr.Dir)
}

// A mistake in main.cf stops the start and is told as Postfix tells it.
func TestMistakesInMainCf(t *testing.T) {
	for name, text := range map[string]string{
		"no equals sign": "just some words\n",
		"unknown user":   "mail_owner = nosuchuser\n",
		"unknown group":  "setgid_group = nosuchgroup\n",
		"root as owner":  "mail_owner = root\n",
		"number":         "message_size_limit = many\n",
		"boolean":        "enable_long_queue_ids = perhaps\n",
		"time":           "ipc_timeout = 10x\n",
		"protocol":       "inet_protocols = ipv5\n",
		"interface":      "inet_interfaces = no.such.host.invalid\n",
		"recursion":      "mydomain = $myhostname\nmyhostname = $mydomain\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // Postfix sleeps before it gives up
			tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
			add(t, filepath.Join(tr.Config, "main.cf"), text)
			theirs, status := terminal(t, "/usr/sbin/postfix", "-c", tr.Config, "status")
			reason := fatal.FindStringSubmatch(theirs)
			if status == 0 || reason == nil {
				t.Fatalf("Postfix sees no mistake: %s", theirs)
			}
			refused(t, tr, reason[1])
		})
	}
}

// A mistake in master.cf stops the start and is told as master(8) tells it.
func TestMistakesInMasterCf(t *testing.T) {
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
	services := filepath.Join(tr.Config, "master.cf")
	good, err := os.ReadFile(services)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Count(string(good), "\n") + 1
	for name, m := range map[string]struct{ text, reason string }{
		"few fields":    {"smtp inet n - n -\n", `missing "max_proc" field`},
		"type":          {"thing odd n - n - - smtpd\n", `field "transport type": bad value: "odd"`},
		"private":       {"thing unix maybe - n - - smtpd\n", `field "private": bad value: "maybe"`},
		"chroot":        {"thing unix - - yes - - smtpd\n", `field "chroot": bad value: "yes"`},
		"wakeup":        {"thing unix - - n soon - smtpd\n", `field "wakeup_time": bad value: "soon"`},
		"process limit": {"thing unix - - n - lots smtpd\n", `field "max_proc": bad value: "lots"`},
		"port":          {"127.0.0.1:nosuchservice inet n - n - - smtpd\n", "nosuchservice"},
	} {
		t.Run(name, func(t *testing.T) {
			harness.Write(t, services, string(good)+m.text)
			refused(t, tr, m.reason)
			if log := tail(tr.Log, 0); !strings.Contains(log, fmt.Sprintf("%s: line %d: ", services, line)) {
				t.Errorf("the log does not name file and line:\n%s", log)
			}
		})
	}
}

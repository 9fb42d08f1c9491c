package conf

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// newer are settings that the reference, Dovecot 2.3.19, does not have yet.
var newer = map[string]bool{"userdb/mechanisms": true}

// dovecotModes are the arguments besides -c FILE. -n is for every
// configuration, the others take turns. -n with -f is not among them: if a filter matches,
// the original then leaves out the sections inside of sections.
var dovecotModes = [][]string{
	{"-a"}, {"-N"}, {"-s"}, {"-nP"}, {"-n", "-S"}, {"-S"}, {"-x", "-n"}, {}, {"-a", "-P"}, {"-N", "-P"}, {"-x", "-a"},
	{"-S", "-f", "service=imap"}, {"-a", "-f", "protocol=lmtp"}, {"-S", "-f", "local=10.0.0.1", "-f", "remote=10.0.0.2"},
	{"-a", "-f", "lname=a.example.com"}, {"-S", "-f", "service=imap", "-f", "lname=mail.example.com", "-f", "local=10.0.0.1", "-f", "remote=10.2.3.4"},
	{"-n", "-m", "imap"}, {"-a", "-m", "auth", "-m", "lmtp"}, {"-a", "-f", "remote=fd00::2"},
	{"protocols", "listen", "mail_plugins"}, {"-h", "protocols", "ssl_key", "log_path", "login_greeting"}, {"service/imap-login/inet_listener/imap/port"},
	{"service"}, {"-n", "service"}, {"passdb", "userdb"}, {"namespace"}, {"-n", "namespace"}, {"plugin"}, {"-h", "plugin"}, {"plugin/quota", "plugin/sieve"},
	{"service/imap"}, {"service/auth"}, {"no_such_setting"}, {"metric"}, {"-N", "plugin", "passdb"}, {"-h", "service/imap/client_limit", "auth_realms"},
	{"-f", "service=imap", "mail_plugins"}, {"-f", "bogus=1", "-n"}, {"-h", "-f", "service=lmtp", "-f", "local=10.0.0.1", "mail_plugins", "ssl", "mail_location"},
	{"-x", "-h", "auth_realms", "mail_plugins"}, {"-x", "-a", "-f", "service=imap"}, {"-P", "plugin"}, {"-x", "ssl_key"}, {"-p", "-n"},
}

var (
	// The version, its commit and what Pigeonhole's are called differ.
	versionLine = regexp.MustCompile(`(?m)\A(# )2\.3\.[^:]*(: .*\n)(?:# Pigeonhole version .*\n)?`)
	// With Pigeonhole the real program starts itself a second time to ask for the capabilities of Sieve.
	capabilityProcess = regexp.MustCompile(`(?m)^doveconf: Error: managesieve-login: dump-capability process returned \d+\n`)
	doveconfWarning   = regexp.MustCompile(`(?m)^doveconf: Warning: .*\n`)
	sectionNumber     = regexp.MustCompile(`(plugin|dict|passdb|userdb|namespace|mailbox|inet_listener)/\d+/`)
	capabilities      = regexp.MustCompile(`(?m)^managesieve_(notify|sieve)_capability ?=.*\n`)
)

// runDoveconf runs both programs on the files in dir.
func runDoveconf(t *testing.T, c *comparison, dir string, args []string) {
	all := append([]string{"-c", filepath.Join(dir, "dovecot.conf")}, args...)
	real := runReal(t, dir, "", "doveconf", all...)
	ours := runOurs(doveconfMain, all...)
	if real.status < 0 {
		return // killed by an assertion
	}
	if real.status != 0 && slices.Contains(args, "-x") {
		// The second instance has read on where the first ended for want of a file.
		real.stderr, ours.stderr = doveconfWarning.ReplaceAllString(real.stderr, ""), doveconfWarning.ReplaceAllString(ours.stderr, "")
	}
	asked := !capabilityProcess.MatchString(real.stderr)
	for _, r := range []*result{&real, &ours} {
		r.stdout = versionLine.ReplaceAllString(r.stdout, "${1}VERSION$2")
		if !asked {
			r.stdout = capabilities.ReplaceAllString(r.stdout, "")
		}
		// The original counts unnamed sections of all kinds together.
		r.stderr = once(sectionNumber.ReplaceAllString(r.stderr, "$1/N/"))
	}
	c.results("doveconf "+strings.Join(args, " "), real, ours)
}

// once removes what the second instance printed before the first began: the
// same warnings, or, with a line that says so, why it failed. The original prints some
// other warnings twice as well.
func once(s string) string {
	if at := capabilityProcess.FindStringIndex(s); at != nil {
		s = s[at[1]:]
	}
	seen := map[string]bool{}
	return strings.Join(slices.DeleteFunc(splitLines(s), func(l string) bool {
		again := seen[l]
		seen[l] = true
		return again
	}), "")
}

// checkDovecot compares the two programs on a configuration and shrinks it if they differ.
func checkDovecot(t *testing.T, nodes []*node, modes ...[]string) {
	t.Helper()
	check(t, nodes, modes, func(nodes []*node, modes [][]string) (map[string]string, *comparison) {
		dir := t.TempDir()
		files := texts("dovecot.conf", nodes)
		install(t, dir, files)
		c := &comparison{known: knownDovecot}
		for _, args := range modes {
			runDoveconf(t, c, dir, args)
		}
		return files, c
	})
}

func TestDovecotRandom(t *testing.T) {
	t.Cleanup(func() { t.Logf("%d lines equal in %d configurations", equalLines.Load(), configurations.Load()) })
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m := newDovecotMaker(seed)
			m.wrong = i%4 == 0
			nodes := m.config()
			modes := [][]string{{"-n"}, dovecotModes[i%len(dovecotModes)], dovecotModes[(i*7+3)%len(dovecotModes)]}
			checkDovecot(t, nodes, modes...)
		})
	}
}

// Each mistake ends a small configuration.
func TestDovecotMistakes(t *testing.T) {
	for i, text := range failures {
		t.Run(fmt.Sprintf("%d", i), func(t *testing.T) {
			t.Parallel()
			checkDovecot(t, []*node{leaf("protocols = imap pop3"), leaf(text), leaf("mail_fsync = never")}, []string{"-n"})
		})
	}
	for _, s := range dovecot.Settings() {
		for _, v := range mistakes[s.Path] {
			t.Run(s.Path+" "+v, func(t *testing.T) {
				t.Parallel()
				checkDovecot(t, []*node{leaf("protocols = imap"), leaf(s.Path + " = " + v)}, []string{"-n"})
			})
		}
	}
}

// Every setting with a valid value, several times over with different ones, in the sections it can be in.
func TestDovecotEverySetting(t *testing.T) {
	const rounds = 3
	for round := range rounds {
		for _, section := range []string{"", "passdb", "userdb", "namespace", "namespace/mailbox", "service", "service/inet_listener", "service/unix_listener",
			"service/fifo_listener", "metric", "event_exporter", "plugin"} {
			t.Run(fmt.Sprintf("%s %d", section, round), func(t *testing.T) {
				t.Parallel()
				m := newDovecotMaker(*first + uint64(round))
				var lines []*node
				for _, s := range m.sections[section] {
					name := s.Path[strings.LastIndexByte(s.Path, '/')+1:]
					lines = append(lines, leaf(assignment(m.Rand, name, validText(m.Rand, s))))
				}
				for _, name := range []string{"mailbox", "service", "passdb", "userdb", "namespace", "metric", "event_exporter", "plugin", "inet_listener", "unix_listener", "fifo_listener"} {
					if strings.HasSuffix("/"+section, "/"+name) {
						lines = []*node{{text: strings.TrimSuffix(name+" x", " x"+map[bool]string{true: "", false: "-"}[name == "plugin"]) + " {", kids: lines, end: "}"}}
					}
				}
				if outer, _, nested := strings.Cut(section, "/"); nested {
					lines = []*node{{text: outer + " y {", kids: lines, end: "}"}}
				}
				checkDovecot(t, lines, []string{"-n"}, []string{"-a"}, []string{"-N", "-P"}, []string{"-S"})
			})
		}
	}
}

// Every setting that has invalid values gets one; the same values always for all settings of a type would be slow.
func TestDovecotInvalidValues(t *testing.T) {
	r := rand.New(rand.NewPCG(*first, 3))
	for _, s := range dovecot.Settings() {
		list := invalid[s.Kind]
		if list == nil || newer[s.Path] {
			continue
		}
		v := pick(r, list)
		t.Run(s.Path, func(t *testing.T) {
			t.Parallel()
			checkDovecot(t, inSection(s.Path, v), []string{"-n"})
		})
	}
}

// Every valid and invalid text of each type, with one setting of it.
func TestDovecotTypes(t *testing.T) {
	for kind, path := range map[dovecot.Kind]string{
		dovecot.KindBool: "mail_debug", dovecot.KindUint: "mail_max_keyword_length", dovecot.KindOctal: "service/unix_listener/mode", dovecot.KindTime: "imap_idle_notify_interval",
		dovecot.KindMsecs: "imapc_connection_retry_interval", dovecot.KindSize: "mail_attachment_min_size", dovecot.KindPort: "submission_relay_port", dovecot.KindEnum: "mail_fsync",
		dovecot.KindString: "auth_realms", dovecot.KindVars: "mail_home", dovecot.KindPath: "log_path",
	} {
		for _, v := range append(append([]string{}, valid[kind]...), invalid[kind]...) {
			t.Run(path+" "+v, func(t *testing.T) {
				t.Parallel()
				checkDovecot(t, inSection(path, v), []string{"-n"})
				if quoted(v) {
					checkDovecot(t, inSection(path, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v)+`"`), []string{"-n"}, []string{"-h", path})
				}
			})
		}
	}
}

// inSection sets a setting in sections named x.
func inSection(path, v string) []*node {
	parts := strings.Split(path, "/")
	nodes := []*node{leaf(parts[len(parts)-1] + " = " + v)}
	for i := len(parts) - 2; i >= 0; i-- {
		head := parts[i] + " x {"
		if parts[i] == "plugin" {
			head = "plugin {"
		}
		nodes = []*node{{text: head, kids: nodes, end: "}"}}
	}
	return nodes
}

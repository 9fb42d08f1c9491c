package packaging

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// originals reads a list of lines, by the name of the file they are from.
func originals(t *testing.T, list string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", list))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]string{}
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if next, ok := strings.CutPrefix(line, "== "); ok {
			name = next
		} else if name != "" {
			files[name] = append(files[name], line)
		}
	}
	return files
}

// stock returns the lines of one of our files.
func stock(t *testing.T, path string) []string {
	t.Helper()
	text, err := Files.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// setting matches a line that sets something, or would without its "#".
var setting = regexp.MustCompile(`^\s*#? {0,2}[a-z][a-z_0-9]* ?(=|.*\{$)|^\s*[^#\s]`)

func testLines(t *testing.T, dir, list string) {
	for name, want := range originals(t, list) {
		t.Run(name, func(t *testing.T) {
			var rest []string // of ours
			for _, line := range stock(t, dir+name) {
				line = strings.TrimRight(line, " ")
				if len(want) > 0 && line == mine(want[0]) {
					want = want[1:]
				} else {
					rest = append(rest, line)
				}
			}
			if len(want) > 0 {
				t.Errorf("from here on there is no line %q in the order of the originals", mine(want[0]))
			}
			for _, line := range rest {
				if setting.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "# ") {
					t.Errorf("the original does not have %q", line)
				}
			}
		})
	}
}

// mine is what stands in our file for a line of the list.
func mine(line string) string {
	original, ours, corrected := strings.Cut(line, " => ")
	if !corrected {
		return strings.TrimRight(line, " ")
	}
	return original[:len(original)-len(strings.TrimLeft(original, " "))] + ours
}

func TestDovecotLinesAreRHELs(t *testing.T) { testLines(t, "etc/dovecot/", "dovecot-lines.txt") }

func TestPostfixLinesAreRHELs(t *testing.T) { testLines(t, "etc/postfix/", "postfix-lines.txt") }

// Tables are installed without entries.
func TestTablesAreEmpty(t *testing.T) {
	for _, name := range []string{"access", "canonical", "generic", "header_checks", "relocated", "transport", "virtual"} {
		for _, line := range stock(t, "etc/postfix/"+name) {
			if !strings.HasPrefix(line, "#") {
				t.Errorf("%s has an entry: %q", name, line)
			}
		}
	}
}

// debianOnly are lines that Debian or a later version changed, and some that RHEL
// did.
var debianOnly = []string{
	"#first_valid_uid = 500", // set in RHEL
	"#mail_plugin_dir = /usr/lib/dovecot/modules",
	"#mbox_write_locks = fcntl dotlock",
	"#myorigin = /etc/mailname",
	"#mynetworks = 168.100.3.0/28, 127.0.0.0/8", // another network in 3.5
	"#relay_domains =",                          // $mydestination in 3.5
	"#mailbox_command = /usr/bin/procmail",
	`#mailbox_command = /usr/bin/procmail -a "$EXTENSION"`,
	"#mailbox_transport = lmtp:unix:/var/imap/socket/lmtp", // elsewhere in RHEL
	"#fallback_transport = lmtp:unix:/file/name",
	"#fallback_transport = cyrus",
}

var commented = regexp.MustCompile(`^#([a-z][a-z_0-9]*) ?=`)

// What is commented out in the installed files of the originals, which are of
// another version and distribution than the lists above, is also in ours: in the
// same file and section.
func TestInstalledFilesHaveNoMore(t *testing.T) {
	var wrong []string
	files := originals(t, "dovecot-lines.txt")
	for _, lines := range files {
		for _, line := range lines {
			if original, _, ok := strings.Cut(line, " => "); ok {
				wrong = append(wrong, strings.TrimSpace(original))
			}
		}
	}
	for name := range files {
		compareInstalled(t, wrong, "/usr/share/dovecot/"+name, "etc/dovecot/"+name)
	}
	compareInstalled(t, wrong, "/etc/postfix/main.cf.proto", "etc/postfix/main.cf")
}

func compareInstalled(t *testing.T, wrong []string, installed, ours string) {
	text, err := os.ReadFile(installed)
	if os.IsNotExist(err) && (strings.HasSuffix(installed, "20-submission.conf") || strings.Contains(installed, "sieve")) {
		return // of a package that the tests do not need
	}
	if err != nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	have := bySection(stock(t, ours))
	for where, lines := range bySection(strings.Split(string(text), "\n")) {
		for _, line := range lines {
			if !commented.MatchString(line) || slices.Contains(debianOnly, line) {
				continue
			}
			if !slices.Contains(have[where], line) && !slices.Contains(have[where], line[1:]) && !slices.Contains(wrong, line) {
				t.Errorf("%s: %s has %q in section %q, which is missing", ours, installed, line, where)
			}
		}
	}
}

// bySection sorts lines by the sections they are in, commented out or not.
func bySection(lines []string) map[string][]string {
	sorted := map[string][]string{}
	var path []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		bare := strings.TrimLeft(line, "# ")
		switch {
		case strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "#  "): // prose
		case strings.HasSuffix(bare, " {") && !strings.Contains(bare, "="):
			path = append(path, strings.TrimSuffix(bare, " {"))
		case bare == "}":
			path = path[:max(0, len(path)-1)]
		default:
			where := strings.Join(path, "/")
			sorted[where] = append(sorted[where], line)
		}
	}
	return sorted
}

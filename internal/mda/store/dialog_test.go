package store

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A dialog is a script of IMAP commands and what Dovecot answers: a
// configuration up to the line "---", then "C: command" and "S: answer" lines.
type dialog struct {
	conf  string
	steps []step
}

type step struct {
	command string
	answers []string // in any order, except that the last is tagged
}

func readDialog(t *testing.T, path string) dialog {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseDialog(string(text))
}

func parseDialog(text string) dialog {
	conf, script, _ := strings.Cut(text, "\n---\n")
	d := dialog{conf: conf}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if command, ok := strings.CutPrefix(line, "C: "); ok {
			d.steps = append(d.steps, step{command: command})
		} else if answer, ok := strings.CutPrefix(line, "S: "); ok {
			last := &d.steps[len(d.steps)-1]
			last.answers = append(last.answers, answer)
		}
	}
	return d
}

// check compares answers without regard to the order of untagged ones.
func (s *step) check(t *testing.T, got []string) {
	t.Helper()
	got, want := slices.Clone(got), slices.Clone(s.answers)
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("C: %s\n got %s\nwant %s", s.command, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestDialogs(t *testing.T) {
	for _, path := range dialogs(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			d := readDialog(t, path)
			u := openTestUser(t, d.conf, t.TempDir())
			for i := range d.steps {
				d.steps[i].check(t, u.answer(d.steps[i].command))
			}
		})
	}
}

// The dialogues are what Dovecot says, too.
func TestDialogsAreDovecots(t *testing.T) {
	for _, path := range dialogs(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			d := readDialog(t, path)
			var commands []string
			for i := range d.steps {
				commands = append(commands, d.steps[i].command)
			}
			for i, got := range runDovecot(t, d.conf, t.TempDir(), commands) {
				d.steps[i].check(t, got)
			}
		})
	}
}

func dialogs(t *testing.T) []string {
	paths, err := filepath.Glob("testdata/*.dialog")
	if err != nil || len(paths) == 0 {
		t.Fatal("no dialogues: ", err)
	}
	return paths
}

// testUser answers commands as an IMAP server would.
type testUser struct {
	*User
	t *testing.T
}

func openTestUser(t *testing.T, conf, home string) testUser {
	t.Helper()
	cfg, err := dovecot.Parse("dovecot.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	pool := mailbox.NewPool(nil)
	info := UserInfo{Username: "bob", Home: home, Service: "imap"}
	u, err := OpenUser(context.Background(), cfg, info, pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close(); pool.Close() })
	return testUser{u, t}
}

func (u testUser) answer(command string) []string {
	ctx := context.Background()
	w := words(command)
	arg := func(i int) string {
		name, ok := DecodeMUTF7(w[i])
		if !ok {
			u.t.Fatalf("%s: not mUTF-7", command)
		}
		return name
	}
	var err error
	switch w[0] {
	case "CREATE":
		err = u.Create(ctx, arg(1))
	case "DELETE":
		err = u.Delete(ctx, arg(1))
	case "RENAME":
		err = u.Rename(ctx, arg(1), arg(2))
	case "SUBSCRIBE":
		err = u.Subscribe(ctx, arg(1))
	case "UNSUBSCRIBE":
		err = u.Unsubscribe(ctx, arg(1))
	case "EXAMINE":
		var m *mailbox.Mailbox
		if m, err = u.Mailbox(ctx, arg(1)); err == nil {
			m.Close()
		}
	case "LIST", "LSUB":
		return u.list(w)
	default:
		u.t.Fatalf("unknown command: %s", command)
	}
	if err == nil {
		return []string{"OK"}
	}
	known, ok := err.(*Error)
	switch {
	case !ok || known.Code == CodeServerBug:
		u.t.Fatalf("%s: %v (%v)", command, err, known)
	case known.Code != "":
		return []string{"NO [" + known.Code + "] " + known.Text}
	}
	return []string{"NO " + known.Text}
}

var listSelects = map[string]ListSelect{
	"SUBSCRIBED": SelectSubscribed, "RECURSIVEMATCH": SelectRecursiveMatch, "SPECIAL-USE": SelectSpecialUse,
}

var listReturns = map[string]ListReturn{
	"SUBSCRIBED": ReturnSubscribed, "CHILDREN": ReturnChildren, "SPECIAL-USE": ReturnSpecialUse,
}

// list parses and answers LIST and LSUB.
func (u testUser) list(w []string) []string {
	q := ListQuery{Return: ReturnChildren | ReturnSpecialUse}
	command := w[0]
	w = w[1:]
	if strings.HasPrefix(w[0], "(") {
		q.Return = 0
		for _, option := range strings.Fields(strings.Trim(w[0], "()")) {
			q.Select |= listSelects[option]
			q.Return |= listReturns[option]
		}
		w = w[1:]
	}
	if command == "LSUB" {
		q.Select, q.Return = SelectLSub|SelectSubscribed, 0
	}
	q.Reference, _ = DecodeMUTF7(w[0])
	pattern, _ := DecodeMUTF7(w[1])
	q.Patterns = []string{pattern}
	if strings.HasPrefix(w[1], "(") {
		q.Patterns, q.Return = strings.Fields(strings.Trim(w[1], "()")), 0
	}
	if len(w) > 2 {
		if q.Select == 0 {
			q.Return = 0
		}
		for _, option := range strings.Fields(strings.Trim(w[3], "()")) {
			q.Return |= listReturns[option]
		}
	}
	entries, err := u.List(context.Background(), q)
	if err != nil {
		u.t.Fatal(err)
	}
	var answers []string
	for i := range entries {
		e := &entries[i]
		line := fmt.Sprintf("* %s (%s) \"%c\" %s", command, e.AppendFlags(nil), e.Sep, quoteName(e.Name))
		if e.Flags&FlagChildSubscribed != 0 {
			line += ` (CHILDINFO ("SUBSCRIBED"))`
		}
		answers = append(answers, line)
	}
	return append(answers, "OK")
}

func quoteName(name string) string {
	name = EncodeMUTF7(name)
	if name != "" && !strings.ContainsAny(name, ` "\%*`) {
		return name
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// words splits a command at blanks; quoted strings and lists in parentheses are one word.
func words(s string) []string {
	var list []string
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		var word []byte
		i := 0
		switch s[0] {
		case '"':
			for i = 1; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
				word = append(word, s[i])
			}
			i++
		case '(':
			i = strings.IndexByte(s, ')') + 1
			word = []byte(s[:i])
		default:
			if i = strings.IndexByte(s, ' '); i < 0 {
				i = len(s)
			}
			word = []byte(s[:i])
		}
		list = append(list, string(word))
		s = s[i:]
	}
	return list
}

// dovecotCommand prepares a tool of the real Dovecot to work on home. The test is
// left where Dovecot is not installed.
func dovecotCommand(t *testing.T, conf, home string, args ...string) *exec.Cmd {
	t.Helper()
	doveadm, err := exec.LookPath("doveadm")
	if err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	path := filepath.Join(home, "dovecot.conf")
	conf += fmt.Sprintf("\nbase_dir = %[1]s/run\nstate_dir = %[1]s/run\nfirst_valid_uid = 1\nssl = no\n", home)
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(doveadm, append([]string{"-c", path}, args...)...)
	cmd.Env = append(os.Environ(), "USER=bob", "HOME="+home)
	if os.Getuid() == 0 {
		// Mail processes refuse to run as root.
		const nobody = 65534
		chownAll(home)
		os.Chmod(filepath.Dir(home), 0o755)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// chownAll gives all files to the user that Dovecot runs as.
func chownAll(home string) {
	const nobody = 65534
	if os.Getuid() == 0 {
		filepath.Walk(home, func(path string, _ os.FileInfo, _ error) error { return os.Lchown(path, nobody, nobody) })
	}
}

// shell runs a command line.
func shell(line string) ([]byte, error) { return exec.Command("sh", "-c", line).CombinedOutput() }

// tookTime is what Dovecot says of how long a command took.
var tookTime = regexp.MustCompile(` \([0-9.]+ \+ [^()]* secs\)\.$`)

// runDovecot has the real Dovecot answer IMAP commands.
func runDovecot(t *testing.T, conf, home string, commands []string) [][]string {
	t.Helper()
	cmd := dovecotCommand(t, conf, home, "exec", "imap")
	var in, errs bytes.Buffer
	for i, command := range commands {
		fmt.Fprintf(&in, "t%d %s\r\n", i, command)
	}
	in.WriteString("z LOGOUT\r\n")
	cmd.Stdin, cmd.Stderr = &in, &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	list := make([][]string, len(commands))
	i := 0
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\r\n")
		if i >= len(commands) {
			break
		}
		answer, tagged := strings.CutPrefix(line, fmt.Sprintf("t%d ", i))
		switch {
		case tagged && strings.HasPrefix(answer, "OK"):
			list[i] = append(list[i], "OK")
			i++
		case tagged:
			answer = tookTime.ReplaceAllString(answer, "")
			list[i] = append(list[i], answer)
			i++
		case strings.HasPrefix(line, "* LIST"), strings.HasPrefix(line, "* LSUB"), strings.HasPrefix(line, "* SEARCH"):
			list[i] = append(list[i], strings.ReplaceAll(line, ` \UnMarked`, ""))
		}
	}
	return list
}

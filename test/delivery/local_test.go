package delivery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// aliasTable are aliases for TestLocal, by name.
const aliasTable = `two dvtla, dvtlb
away out@remote.test
mixed dvtla, out@remote.test, nosuch, other@remote.test
included :include:DIR/list
nested :include:DIR/outer
missing :include:DIR/none
relative :include:list
writable :include:DIR/writable
directory :include:DIR/out
byuser :include:DIR/home/dvtla/list
cmd "|/bin/cat >DIR/out/cmd"
noshell |/bin/true
words "|/bin/echo one   two"
env "|env | sort | grep -v ^_= >DIR/out/env"
nocmd "|/nonexistent/command x"
nobuiltin |nosuchcommand
builtin "|exit 67"
signal "|kill -9 $$"
says "|echo 4.7.9 later please; exit 1"
speaks "|echo a word; echo more; exit 65"
many "|head -c 1000 /dev/zero | tr '\\0' x; exit 75"
ignores "|exec </dev/null; exit 0"
file DIR/out/file
box DIR/out/box/
exec DIR/out/exec
symlink DIR/out/symlink
hardlink DIR/out/hardlink
fifo DIR/out/fifo
null /dev/null
nodir DIR/none/file
home ~/file
list dvtla, out@remote.test
owner-list boss@remote.test
badlist "|exit 70", nosuch
owner-badlist boss@remote.test
loopa loopb
loopb loopa
dvtlb dvtlb, out@remote.test
back \dvtla
quoted "dvtla"
comments dvtla (the user), "A Name" <dvtlb@local.test>
empty ,
syntax a@b@, <>
plusalias dvtla
ext+exact dvtlb
same dvtla, dvtla, DVTLA
literal out@[127.0.0.1]
`

// TestLocal shows aliases, .forward files and mailboxes.
func TestLocal(t *testing.T) {
	s := &script{
		main: "alias_maps = texthash:DIR/aliases\nrecipient_delimiter = +\nallow_mail_to_commands = alias, forward, include\n" +
			"allow_mail_to_files = alias, forward, include\nexport_environment = TZ=UTC LANG PATH=/nowhere\n",
		files: map[string]string{
			"aliases":                  aliasTable,
			"list":                     "# a comment\ndvtla, out@remote.test\n\n dvtlc other@remote.test\n",
			"outer":                    ":include:DIR/list\nthird@remote.test\n\"|/bin/cat >>DIR/out/included\"\n",
			"writable":                 "dvtla\n",
			"home/dvtla/list":          "\"|id -un >DIR/out/byuser\", DIR/home/dvtla/got\n",
			"home/dvtlf/.forward":      "\\dvtlf, out@remote.test, \"|cat >DIR/out/forwarded\"\n~/file\ndvtla\n",
			"home/dvtlf/.forward+ext":  "ext@remote.test\n",
			"home/dvtlf/.forward+bad":  "dvtlf\n",
			"home/dvtlf/.forward+none": "",
		},
		setup: func(t *testing.T, dir string) {
			chmod(t, filepath.Join(dir, "writable"), 0o666)
			chmod(t, filepath.Join(dir, "home/dvtlf/.forward+bad"), 0o666)
			harnessFiles(t, dir)
		},
		cases: localCases(),
	}
	compare(t, s)
}

// harnessFiles makes files that mail must not be appended to.
func harnessFiles(t *testing.T, dir string) {
	t.Helper()
	out := filepath.Join(dir, "out")
	for _, err := range []error{
		os.WriteFile(filepath.Join(out, "exec"), nil, 0o777), os.WriteFile(filepath.Join(out, "target"), nil, 0o666),
		os.Symlink("target", filepath.Join(out, "symlink")), os.Link(filepath.Join(out, "target"), filepath.Join(out, "hardlink")),
		unix.Mkfifo(filepath.Join(out, "fifo"), 0o666), os.Symlink("/etc/passwd", filepath.Join(dir, "home/dvtlf/.forward+link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	chmod(t, filepath.Join(out, "exec"), 0o777)
	chmod(t, filepath.Join(out, "target"), 0o666)
	chmod(t, filepath.Join(out, "fifo"), 0o666)
	if err := os.Lchown(filepath.Join(dir, "home/dvtlf/.forward+link"), 0, 0); err != nil {
		t.Fatal(err)
	}
}

func localCases() []message {
	cases := []message{
		{name: "mailbox", to: "<dvtla@local.test>"},
		{name: "mailbox again", to: "<dvtla@local.test>"},
		{name: "extension", to: "<dvtla+ext@local.test>"},
		{name: "upper case", to: "<DVTLA@LOCAL.TEST>"},
		{name: "slash in extension", to: "<dvtla+a/b@local.test>"},
		{name: "unknown", to: "<nosuch@local.test>"},
		{name: "postmaster", to: "<postmaster@local.test>"},
		{name: "null sender", to: "<dvtla@local.test>", from: "<>"},
		{name: "quoted sender", to: "<dvtla@local.test>", from: `<"a b"@origin.test>`},
		{name: "loop", to: "<dvtla@local.test>", content: "Delivered-To: DVTLA@local.test\r\n" + letter},
		{name: "alias, success", to: "<two@local.test> NOTIFY=SUCCESS"},
		{name: "list, success", to: "<list@local.test> NOTIFY=SUCCESS ORCPT=rfc822;first@local.test", from: "<sender@origin.test> ENVID=id RET=HDRS"},
		{name: "alias away, success", to: "<away@local.test> NOTIFY=SUCCESS,FAILURE"},
		{name: "alias with extension", to: "<plusalias+ext@local.test>"},
		{name: "alias of extension", to: "<ext+exact@local.test>"},
		{name: ".forward", to: "<dvtlf@local.test>"},
		{name: ".forward+ext", to: "<dvtlf+ext@local.test>"},
		{name: ".forward+ext, success", to: "<dvtlf+ext@local.test> NOTIFY=SUCCESS"},
		{name: ".forward, other extension", to: "<dvtlf+other@local.test>"},
		{name: ".forward+bad", to: "<dvtlf+bad@local.test>"},
		{name: ".forward+none", to: "<dvtlf+none@local.test>"},
		{name: ".forward+link", to: "<dvtlf+link@local.test>"},
		{name: "no end of line", to: "<dvtlc@local.test>", content: "Subject: x\r\n\r\nFrom me\r\n\r\nFrom you\r\n>From us\r\n" + strings.Repeat("y", 3000) + "\r\n"},
	}
	for line := range strings.SplitSeq(strings.TrimSpace(aliasTable), "\n") {
		if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(name, "owner-") && !strings.Contains(name, "+") {
			cases = append(cases, message{name: "alias " + name, to: "<" + name + "@local.test>"})
		}
	}
	return cases
}

// TestExitStatus shows what the exit status of a command means.
func TestExitStatus(t *testing.T) {
	s := &script{main: "alias_maps = texthash:DIR/aliases\n", files: map[string]string{}}
	table := ""
	for _, code := range []int{1, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 255} {
		table += fmt.Sprintf("exit%d \"|exit %d\"\n", code, code)
		s.cases = append(s.cases, message{name: fmt.Sprint(code), to: fmt.Sprintf("<exit%d@local.test>", code)})
	}
	s.files["aliases"] = table
	compare(t, s)
}

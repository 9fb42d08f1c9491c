package conf

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// printModes print; -n is for every configuration, the others take turns.
var printModes = [][]string{
	{"-nx"}, {"-nf"}, {"-nxf"}, {}, {"-x"}, {"-f"}, {"-d"}, {"-df"}, {"-dx"}, {"-M"}, {"-Mf"}, {"-Mx"}, {"-Mfx"}, {"-F"}, {"-Ff"}, {"-Fx"}, {"-P"}, {"-Px"}, {"-Pf"}, {"-Ph"}, {"-PH"}, {"-Fh"}, {"-FH"},
	{"-nh"}, {"-nH"}, {"-C", "user"}, {"-C", "service"}, {"-C", "builtin", "-n"}, {"-C", "all"}, {"-nC", "user,service"}, {"-p"}, {"-pn"},
	{"myhostname", "own_first", "mydestination"}, {"-h", "own_first", "smtpd_relay_restrictions"}, {"-x", "own_first", "own_second", "smtpd_recipient_restrictions"}, {"-xh", "own_first", "no_such_parameter", "own_third"},
	{"-d", "mynetworks", "smtpd_tls_mandatory_protocols", "compatibility_level"}, {"-df", "smtpd_relay_restrictions", "proxy_read_maps"}, {"-xf", "proxy_read_maps", "mydestination"}, {"-n", "own_first", "myhostname"},
	{"-M", "smtp"}, {"-M", "smtp/inet", "slow/unix"}, {"-M", "*/unix"}, {"-Mf", "nosuch"}, {"-F", "smtp/inet/command", "*/*/chroot"}, {"-F", "*/unix"}, {"-P", "*/*/own_first"}, {"-P", "smtp/inet"}, {"-P", "nosuch/unix/x"},
	{"-F", "smtp/inet/bogus"}, {"-o", "own_first=overridden", "-n"}, {"-o", "own_first = spaced out ", "own_first"}, {"-o", "own_first", "-n"}, {"-nx", "-o", "own_second=$own_first"}, {"-o", "myhostname=x.example", "-x", "myhostname", "mydestination"},
	{"-T", "bogus"}, {"-C", "bogus"},
}

// wrongModes are mistakes on the command line.
var wrongModes = [][]string{
	{"-e", "own_first=a", "unused_one=b"}, {"-dn"}, {"-hH"}, {"-eX"}, {"-bt"}, {"-Md"}, {"-MF"}, {"-am"}, {"-fe"}, {"-xe"}, {"-oe"}, {"-z"}, {"-c"}, {"-o"}, {"-C"}, {"-T"}, {"-FX", "smtp/inet"}, {"-MP"}, {"-ne"}, {"-e"}, {"-X"}, {"-#"}, {"-e", "x"}, {"-e", "=x"},
	{"-X", "x=y"}, {"-#", "x=y"}, {"-e", "x=a\nb"}, {"-e", "#x=y"}, {"-X", " "}, {"-M", "smtp/inet=x y"}, {"-T", "compile-version", "-T", "run-version"}, {"-F", "smtp/inet/chroot=z"}, {"-F", "smtp/inet/type=z"}, {"-P", "smtp/inet/a=b c"},
	{"-d", "-M"}, {"-hd", "-H"}, {"-P", "smtp/inet"}, {"-PX"}, {"-MX"}, {"-M#"}, {"-F", "x"}, {"-M", "/inet"}, {"-P", "a/b/c/d"}, {"-F", "a/b/c/d"}, {"-M", "a/b/c"}, {"-MX", "smtp"}, {"-xX", "a"}, {"-nX", "a"}, {"-hX", "a"},
}

// edits change the files.
var edits = [][]string{
	{"own_first=edited"}, {"-e", "own_first = spaced  out "}, {"-e", "own_first="}, {"-e", "own_first=a", "own_first=b"}, {"myhostname=x.example.com"}, {"-e", "brand_new = $own_first"},
	{"-X", "own_first"}, {"-X", "own_first", "own_second", "nosuch"}, {"-#", "own_first"}, {"-#", "own_first", "nosuch", "own_third"}, {"-X", "compatibility_level"},
	{"-M", "slow/unix=slow unix - - n - 2 smtp -o a=b"}, {"-M", "brandnew/unix=brandnew unix - - n - - pipe flags=R user=x argv=/bin/y {z z}"}, {"-Me", "smtp/inet=smtp inet n - y - - smtpd"}, {"-MX", "smtp/inet"}, {"-M#", "smtp/inet"},
	{"-M#", "slow/unix", "nosuch/unix"}, {"-MX", "*/unix"}, {"-F", "smtp/inet/chroot=y"}, {"-F", "*/*/chroot=n"}, {"-F", "slow/unix/command=smtp -v -o x=y"}, {"-F", "slow/unix/process_limit=5", "smtp/inet/wakeup=60"}, {"-F", "nosuch/unix/chroot=n"},
	{"-P", "smtp/inet/own_first=x"}, {"-P", "smtp/inet/own_first=x", "slow/unix/own_second=y"}, {"-P", "*/*/own_first=all"}, {"-PX", "smtp/inet/own_first"}, {"-PX", "*/*/own_first"}, {"-P", "nosuch/inet/a=b"}, {"-P", "smtp/inet/own_first="},
	{"-F", "smtp/inet/private=-"}, {"-e", "own-dash=x"}, {"-e", "own_first=$x ${y?z} # no comment"}, {"-e", "a b=c"}, {"-F", "smtp/inet/service=2525"}, {"-M", "smtp/unix=other unix - - n - - smtp"}, {"-MX", "nosuch/unix"},
}

// hashOrder are the lines whose order is that of a hash table.
var hashOrder = regexp.MustCompile(`(unused|undefined) parameter: |overriding earlier entry|read-only parameter|open "\w+" config|multiple entries for|unmatched`)

// macroError is an expression that cannot be expanded.
var macroError = regexp.MustCompile(`expected at: |macro|syntax error|unbalanced`)

var processID = regexp.MustCompile(`(?m)^process_id = \d+$`)

// A pair is a configuration directory of each program, with the same files.
type pair struct {
	real, ours string
	random     bool // there may be several mistakes
}

func installPair(t *testing.T, files map[string]string) pair {
	// The name must not have a $, which the name of the test may have.
	parent, err := os.MkdirTemp("", "conf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	p := pair{real: filepath.Join(parent, "real"), ours: filepath.Join(parent, "ours")}
	for _, dir := range []string{p.real, p.ours} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install(t, p.real, files)
	install(t, p.ours, files)
	return p
}

// postconf runs both programs on the two directories.
func (p pair) postconf(t *testing.T, c *comparison, args []string) {
	real := runReal(t, p.real, "", "postconf", append([]string{"-c", p.real}, args...)...)
	ours := runOurs(postconfMain, append([]string{"-c", p.ours}, args...)...)
	if real.status < 0 {
		return // it overflowed its stack
	}
	if p.random && real.status != 0 && ours.status != 0 {
		return // which mistake they meet first is a matter of the order
	}
	if p.random && macroError.MatchString(real.stderr) {
		// What else they tell of depends on when they meet it.
		for _, r := range []*result{&real, &ours} {
			r.stderr = strings.Join(slices.DeleteFunc(splitLines(r.stderr), func(l string) bool { return hashOrder.MatchString(l) || macroError.MatchString(l) }), "")
		}
	}
	what := "postconf " + strings.Join(args, " ")
	c.results(what, plain(real, p.real), plain(ours, p.ours))
	for name := range mergeKeys(readDir(t, p.real), readDir(t, p.ours)) {
		c.text(what+": "+name, readDir(t, p.real)[name], readDir(t, p.ours)[name])
	}
}

// plain replaces what depends on the directory and on chance.
func plain(r result, dir string) result {
	for _, s := range []*string{&r.stdout, &r.stderr} {
		*s = processID.ReplaceAllString(*s, "process_id = PID")
		*s = sortedLines(strings.ReplaceAll(*s, dir, "DIR"), hashOrder)
	}
	return r
}

func mergeKeys(a, b map[string]string) map[string]bool {
	names := map[string]bool{}
	for _, m := range []map[string]string{a, b} {
		for name := range maps.Keys(m) {
			names[name] = true
		}
	}
	return names
}

// readDir reads all files below dir.
func readDir(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// checkPostfix compares the two programs on a configuration, for each of the
// argument lists, and shrinks it if they differ.
func checkPostfix(t *testing.T, main, services []*node, modes ...[]string) {
	t.Helper()
	both := []*node{{file: "main.cf", kids: main}, {file: "master.cf", kids: services}}
	check(t, both, modes, func(nodes []*node, modes [][]string) (map[string]string, *comparison) {
		files := texts("unused", nodes)
		delete(files, "unused")
		c := &comparison{known: knownPostfix}
		p := installPair(t, files)
		p.random = strings.Contains(t.Name(), "Random") || strings.Contains(t.Name(), "Every")
		for _, args := range modes {
			p.postconf(t, c, args)
		}
		return files, c
	})
}

func TestPostfixRandom(t *testing.T) {
	t.Cleanup(func() { t.Logf("%d lines equal in %d configurations", equalLines.Load(), configurations.Load()) })
	for i := range *seeds {
		seed := *first + uint64(i)
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			m := newPostfixMaker(seed)
			m.wrong = i%6 == 0
			main, services := m.main(), m.services()
			checkPostfix(t, main, services, []string{"-n"}, printModes[i%len(printModes)], printModes[(i*7+3)%len(printModes)], printModes[(i*11+5)%len(printModes)])
			checkPostfix(t, main, services, edits[i%len(edits)])
		})
	}
}

// smallMain and smallMaster are what the command lines are tried on.
const smallMain = `compatibility_level = 3.6
myhostname = mail.example.com
own_first = one
   two
# about own_second
own_second = $own_first
own_first = three
unused_one = x
mypipe_time_limit = 5
`

const smallMaster = `smtp      inet  n       -       n       -       -       smtpd
  -o own_first=x
  -o { own_second = two words }
#  -o commented=out
slow      unix  -       -       n       -       2       smtp -v
mypipe    unix  -       n       n       -       -       pipe
  flags=DRhu user=vmail argv=/bin/prog -f ${sender} {arg with space}
`

func TestPostfixCommandLines(t *testing.T) {
	for _, args := range append(append(append([][]string{}, printModes...), wrongModes...), edits...) {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			checkPostfix(t, []*node{leaf(strings.TrimSuffix(smallMain, "\n"))}, []*node{leaf(strings.TrimSuffix(smallMaster, "\n"))}, args)
		})
	}
}

func TestPostfixMistakes(t *testing.T) {
	for _, text := range badMainLines {
		t.Run("main.cf "+text, func(t *testing.T) {
			t.Parallel()
			checkPostfix(t, []*node{leaf("own_first = x"), leaf(text)}, []*node{leaf("a unix - - n - - b")}, []string{"-n"}, []string{"-e", "own_first=y"})
		})
	}
	for _, text := range badExpressions {
		t.Run("expression "+text, func(t *testing.T) {
			t.Parallel()
			main := []*node{leaf("own_loop = x $own_loop"), leaf("own_first = a" + text), leaf("own_second = $own_first")}
			checkPostfix(t, main, []*node{leaf("a unix - - n - - b -o own_first=" + strings.ReplaceAll(text, " ", "_"))}, []string{"-nx"}, []string{"-Px"})
		})
	}
	for _, text := range expressions {
		t.Run("expression "+text, func(t *testing.T) {
			t.Parallel()
			main := []*node{leaf("own_level = 1"), leaf("own_first = a" + text), leaf("own_second = b"), leaf("own_third = 10"), leaf("relayhost = $own_third")}
			if strings.Contains(text, "own_first") {
				main[1] = leaf("own_fourth = " + text + "\nown_first = 9")
			}
			checkPostfix(t, main, []*node{leaf("a unix - - n - - b -o {own_first = " + text + " x}")}, []string{"-n"}, []string{"-nx"}, []string{"-xh", "own_first", "own_fourth"}, []string{"-Mx"}, []string{"-Px"})
		})
	}
	for _, text := range badServices {
		t.Run("master.cf "+text, func(t *testing.T) {
			t.Parallel()
			checkPostfix(t, []*node{leaf("own_first = x")}, []*node{leaf("a unix - - n - - b"), leaf(text)}, []string{"-n"}, []string{"-M"}, []string{"-P", "a/unix/c=d"})
		})
	}
	t.Run("no main.cf", func(t *testing.T) {
		checkPostfix(t, nil, []*node{leaf("a unix - - n - - b")}, []string{"-n"}, []string{"-M"})
	})
}

// Every parameter with values of its type, right and wrong ones.
func TestPostfixEveryParameter(t *testing.T) {
	const rounds = 4
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			m := newPostfixMaker(*first + uint64(round))
			var main []*node
			for _, p := range m.params {
				main = append(main, leaf(m.assign(p.Name)))
			}
			checkPostfix(t, main, m.services(), []string{"-n"}, []string{"-nf"}, []string{"-nx"}, []string{"-x"}, []string{"-C", "user"})
		})
	}
	t.Run("defaults", func(t *testing.T) { checkPostfix(t, nil, nil, []string{"-d"}, []string{"-df"}) })
}

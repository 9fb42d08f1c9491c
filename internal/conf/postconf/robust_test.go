package postconf

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestHostileFiles reads what is no configuration, or one made to take forever.
func TestHostileFiles(t *testing.T) {
	explosion := "v0 = xxxxxxxxxxxx\n"
	for i := range 99 {
		explosion += fmt.Sprintf("v%d = $v%d$v%d\n", i+1, i, i)
	}
	for name, tt := range map[string]struct{ main, master, want string }{
		"binary":         {"\x7fELF\x02\x01\x01\x00\x00x = y\n", "", `DIR/main.cf, line 1: missing '=' after attribute name: "?ELF???"`},
		"loop":           {"relayhost = $relayhost\n", "", `unreasonable macro call nesting: "relayhost"`},
		"loop of two":    {"relayhost = $mine\nmine = x${relayhost?y$mine}\n", "", `unreasonable macro call nesting: "`},
		"loop compared":  {"relayhost = ${{$relayhost} == {x} ? {y} : {z}}\n", "", `unreasonable macro call nesting: "$relayhost"`},
		"explosion":      {explosion + "relayhost = $v99\n", "", `unreasonable macro call nesting: "`},
		"long line":      {"relayhost = " + strings.Repeat("x", 50<<20) + "\n", "", "DIR/main.cf, line 1: line is too long"},
		"long value":     {"relayhost = x\n" + strings.Repeat(" yyyyyyyyy\n", 5<<20), "", "DIR/main.cf, line 1: line is too long"},
		"large":          {strings.Repeat("relayhost = xxxxxxxxxxxxxxxxxxxxxxx\n", 3<<20), "", ": the file is too large"},
		"braces":         {"relayhost = " + strings.Repeat("{a:{", 20000) + "\n", "", ""},
		"dollars":        {"relayhost = " + strings.Repeat("$$", 200000) + "\n", "", ""},
		"nested":         {"relayhost = " + strings.Repeat("${x:{", 100000) + strings.Repeat("}}", 100000) + "\n", "", `unreasonable macro call nesting: "`},
		"binary master":  {"", "\x7fELF\x02\x01\x01\x00\x00x y\n", "file DIR/master.cf: line 1: bad field count"},
		"long entry":     {"", "smtp inet n - n - - smtpd\n" + strings.Repeat(" -o a=b\n", 1<<20), "line is too long"},
		"many arguments": {"", "smtp inet n - n - - smtpd\n" + strings.Repeat(" -o a=b\n", 1<<16), ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := configDir(t, tt.main, tt.master)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			_, stderr, status := run("-c", dir, "-nx")
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 500<<20 {
				t.Errorf("it took %d MB", n>>20)
			}
			stderr = strings.ReplaceAll(stderr, dir, "DIR")
			if (status != 0) != (tt.want != "") || !strings.Contains(stderr, tt.want) {
				t.Errorf("status %d: %.1000s", status, stderr)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "main.cf"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, option := range []string{"-n", "-e"} {
		if _, stderr, status := run("-c", dir, option, "relayhost=x"); status != 1 || stderr != "postconf: fatal: read "+dir+"/main.cf: Is a directory\n" && option == "-e" {
			t.Errorf("%s: status %d, %s", option, status, stderr)
		}
	}
	_, stderr, status := run("-c", dir+"/nosuch", "-n")
	if status != 1 || stderr != "postconf: fatal: open "+dir+"/nosuch/main.cf: No such file or directory\n" {
		t.Errorf("status %d, %s", status, stderr)
	}
}

func seeds(f *testing.F, add func(main, master string)) {
	for _, pattern := range []string{"testdata/samples/*.txtar", "testdata/original/*.txtar"} {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			a, err := txtar.ParseFile(path)
			if err != nil {
				f.Fatal(err)
			}
			var main, master string
			for _, file := range a.Files {
				switch file.Name {
				case "main.cf":
					main = string(file.Data)
				case "master.cf":
					master = string(file.Data)
				}
			}
			add(main, master)
		}
	}
}

// FuzzShow shows arbitrary files in every way.
func FuzzShow(f *testing.F) {
	seeds(f, func(main, master string) { f.Add(main, master) })
	f.Fuzz(func(t *testing.T, main, master string) {
		if strings.Contains(main, "inet_interfaces") { // it may name hosts to be looked up
			return
		}
		dir := configDir(t, main, master)
		for _, option := range []string{"-nfx", "-x", "-Mfx", "-Fx", "-Px", "-b"} {
			run("-c", dir, option)
		}
	})
}

// FuzzEdit edits arbitrary files: what was set is what is shown, and what was added can
// be taken away again.
func FuzzEdit(f *testing.F) {
	seeds(f, func(main, master string) { f.Add(main, master) })
	f.Fuzz(func(t *testing.T, main, master string) {
		if strings.Contains(main, "inet_interfaces") {
			return
		}
		dir := configDir(t, main, master)
		_, before, failed := run("-c", dir, "-n")
		if _, stderr, status := run("-c", dir, "relayhost=new"); status != 0 {
			t.Fatal(stderr)
		}
		if stdout, _, status := run("-c", dir, "-h", "relayhost"); status == 0 && stdout != "new\n" {
			t.Errorf("relayhost is %q", stdout)
		} else if status != 0 && failed == 0 && !strings.Contains(main, "$") {
			t.Errorf("the edit broke the file, which was fine: %s", before)
		}
		text := readFile(t, filepath.Join(dir, "main.cf"))
		run("-c", dir, "fuzzadded=x")
		run("-c", dir, "-X", "fuzzadded")
		if got := readFile(t, filepath.Join(dir, "main.cf")); got != text && !strings.Contains(main, "fuzzadded") {
			t.Errorf("%q became %q", text, got)
		}
		if _, _, status := run("-c", dir, "-M", "fuzz/inet=fuzz inet n - n - - smtpd"); status == 0 {
			run("-c", dir, "-P", "fuzz/inet/a=b")
			if stdout, stderr, status := run("-c", dir, "-P", "fuzz/inet/a"); status == 0 && !strings.Contains(stdout, "fuzz/inet/a = b\n") {
				t.Errorf("%q, %q", stdout, stderr)
			}
		}
	})
}

// BenchmarkShow is `postconf -n` without the start of the process.
func BenchmarkShow(b *testing.B) {
	a, err := txtar.ParseFile("testdata/samples/5-submission-sasl.txtar")
	if err != nil {
		b.Fatal(err)
	}
	dir := configDir(b, string(a.Files[0].Data), string(a.Files[1].Data))
	for b.Loop() {
		if _, stderr, status := run("-c", dir, "-n"); status != 0 {
			b.Fatal(stderr)
		}
	}
}

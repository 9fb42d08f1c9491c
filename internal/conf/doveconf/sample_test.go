package doveconf

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

// asDoveconf in the environment makes the test program doveconf, for -e, which
// replaces it.
const asDoveconf = "DOVECONF_TEST"

// The samples were printed by Debian's packages.
func TestMain(m *testing.M) {
	flavor.Name = "debian"
	if os.Getenv(asDoveconf) != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A sample is an archive with its files unpacked to a directory that stands
// for /etc/dovecot.
type sample struct {
	dir     string
	files   map[string]string
	comment map[string]string // "key: value" lines
}

func unpack(t testing.TB, path string) *sample {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &sample{dir: t.TempDir(), files: map[string]string{}, comment: map[string]string{}}
	for line := range strings.Lines(string(a.Comment)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		s.comment[key] = value
	}
	for _, f := range a.Files {
		s.files[f.Name] = strings.ReplaceAll(string(f.Data), "/etc/dovecot/", s.dir+"/")
		name := filepath.Join(s.dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(s.files[f.Name]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// outcome is what a program did.
type outcome struct {
	Stdout, Stderr string
	Status         int
}

func doveconf(args ...string) outcome {
	var stdout, stderr bytes.Buffer
	status := Main(args, nil, &stdout, &stderr)
	return outcome{stdout.String(), stderr.String(), status}
}

var headerLine = regexp.MustCompile(`(?m)^# (2\.3|Pigeonhole version|OS:|Hostname:)(.*: )?.*\n`)

// sameHeader blanks what differs between hosts and versions.
func sameHeader(s string) string { return headerLine.ReplaceAllString(s, "# $1\n") }

// TestSamples prints complete configurations.
func TestSamples(t *testing.T) {
	paths, _ := filepath.Glob("testdata/samples/*.txtar")
	if len(paths) != 16 {
		t.Fatalf("%d samples", len(paths))
	}
	for _, path := range paths {
		for _, option := range []string{"-n", "-a"} {
			t.Run(filepath.Base(path)+option, func(t *testing.T) {
				s := unpack(t, path)
				got := doveconf(option, "-c", s.dir+"/dovecot.conf")
				got.Stdout = sameHeader(got.Stdout)
				want := outcome{sameHeader(s.files["expected"+option+".txt"]), s.files["expected-stderr.txt"], 0}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestErrors provokes each diagnostic.
func TestErrors(t *testing.T) {
	paths, _ := filepath.Glob("testdata/errors/*.txtar")
	if len(paths) != 58 {
		t.Fatalf("%d errors", len(paths))
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := unpack(t, path)
			got := s.run(t)
			got.Stdout = withoutHeader(got.Stdout)
			if diff := cmp.Diff(s.want(t), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// run runs the command of the sample's comment.
func (s *sample) run(t *testing.T) outcome {
	t.Helper()
	args := strings.Fields(s.comment["command"])[1:]
	if !strings.Contains(s.comment["command"], " -c ") {
		args = append([]string{"-c", s.dir + "/dovecot.conf"}, args...)
	}
	return doveconf(args...)
}

func (s *sample) want(t *testing.T) outcome {
	t.Helper()
	status, err := strconv.Atoi(s.comment["exit"])
	if err != nil {
		t.Fatal(err)
	}
	return outcome{s.files["stdout"], s.files["stderr"], status}
}

// withoutHeader removes the first lines, and those of Pigeonhole that are always there.
func withoutHeader(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "managesieve_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestOptions runs the transcripts of other options on the samples.
func TestOptions(t *testing.T) {
	paths, _ := filepath.Glob("testdata/options/*.txtar")
	if len(paths) != 47 {
		t.Fatalf("%d transcripts", len(paths))
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			transcript := unpack(t, path)
			s := unpack(t, "testdata/samples/"+transcript.comment["sample"]+".txtar")
			s.comment = transcript.comment
			got := s.run(t)
			got.Stdout = sameHeader(got.Stdout)
			want := transcript.want(t)
			want.Stdout = sameHeader(strings.ReplaceAll(want.Stdout, transcript.dir, s.dir))
			want.Stderr = strings.ReplaceAll(want.Stderr, transcript.dir, s.dir)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s\n%s", s.comment["command"], diff)
			}
		})
	}
}

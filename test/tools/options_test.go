package tools

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// An invocation is a command line and its standard input. Those of a list are run one after
// the other in the same directory.
type invocation struct{ line, stdin string }

// tableFiles are the files that the commands on tables work on.
var tableFiles = map[string]string{
	"table":   "Key value\nother\tsecond value\nlong first\n  continued\n# comment\n\nnovalue\nKEY again\nalias: with a colon\n  \nuser@Example.COM x\n",
	"aliases": "root: one, two\nquoted\": three\n\"a b\": four\nRoot: again\nnocolon\nlist: :include:/x,\n  more\nuser@domain: five\nempty:\n",
	"file1":   "content of a file\n",
	"b64":     "one file1\ntwo nofile\n",
	"utf8":    "Ärger käse\nascii x\n",
	"bad8":    "\xff\xfe value\n",
	"regexp":  "/^a(.)/ found $1\n/bad(/ x\n",
	"mail":    "Subject: One\nTo: two\n folded\nX-Key: x\n\nfirst line\nsecond key\n",
	"mime":    "Subject: One\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nX-Part: 1\n\nin part\n--b--\n",
}

var postmapLines = []invocation{
	{"postmap hash:table", ""}, {"postmap -s hash:table", ""}, {"postmap -q key hash:table", ""}, {"postmap -q KEY hash:table", ""},
	{"postmap -q nokey hash:table", ""}, {"postmap -q - hash:table", "key\nKEY\n\nnone\nother\nuser@example.com\n"},
	{"postmap -q - hash:table", "none\n"}, {"postmap -q key -q other hash:table", ""}, {"postmap -q key texthash:table hash:table", ""},
	{"postmap -q x -s hash:table", ""}, {"postmap -d key -q x hash:table", ""}, {"postmap -s -d x hash:table", ""},
	{"postmap -i hash:table", "new value\nkey changed\n"}, {"postmap -s hash:table", ""}, {"postmap -ir hash:table", "new value2\nkey changed\n"},
	{"postmap -q key hash:table", ""}, {"postmap -iw hash:table", "new value3\n"}, {"postmap -q new hash:table", ""},
	{"postmap -d key hash:table", ""}, {"postmap -d key hash:table", ""}, {"postmap -d - hash:table", "new\nnothing\nother\n"}, {"postmap -d - hash:table", "nothing\n"},
	{"postmap -s hash:table", ""}, {"postmap -i hash:fresh", "a b\n"}, {"postmap -q a hash:fresh", ""},
	{"postmap -n hash:table", ""}, {"postmap -q key hash:table", ""}, {"postmap -N hash:table", ""}, {"postmap -q key hash:table", ""}, {"postmap -nN hash:table", ""},
	{"postmap -f hash:table", ""}, {"postmap -fs hash:table", ""}, {"postmap -fq KEY hash:table", ""}, {"postmap -fq Key hash:table", ""},
	{"postmap -w hash:table", ""}, {"postmap -r hash:table", ""}, {"postmap -q key hash:table", ""}, {"postmap -wr hash:table", ""}, {"postmap -p hash:table", ""}, {"postmap -o hash:table", ""},
	{"postmap -u hash:utf8", ""}, {"postmap -s hash:utf8", ""}, {"postmap -U hash:utf8", ""}, {"postmap -s hash:utf8", ""}, {"postmap hash:bad8", ""}, {"postmap -U hash:bad8", ""}, {"postmap -uU hash:utf8", ""},
	{"postmap -F hash:b64", ""}, {"postmap -s hash:b64", ""}, {"postmap -Fq one hash:b64", ""}, {"postmap -Fs hash:b64", ""}, {"postmap -q one hash:b64", ""}, {"postmap -Fq one texthash:table", ""},
	{"postmap -q ax regexp:regexp", ""}, {"postmap -q b regexp:regexp", ""}, {"postmap -s regexp:regexp", ""}, {"postmap regexp:regexp", ""}, {"postmap -d x regexp:regexp", ""}, {"postmap -d x texthash:table", ""}, {"postmap texthash:table", ""},
	{"postmap -hq - regexp:headers", "Subject: x\n\nbody\n"}, {"postmap -h -q - texthash:table", "key\n\nother\n"}, {"postmap -h -q key hash:table", ""}, {"postmap -hs hash:table", ""},
	{"postmap -bq - inline:{{{first line}=one}{{second key}=two}{{Subject: One}=three}}", tableFiles["mail"]},
	{"postmap -hq - inline:{{{first line}=one}{{second key}=two}{{Subject: One}=three}}", tableFiles["mail"]},
	{"postmap -hbq - inline:{{{first line}=one}{{second key}=two}{{Subject: One}=three}}", tableFiles["mail"]},
	{"postmap -hmq - inline:{{{X-Part: 1}=part}{{Content-Type: text/plain}=type}{{in part}=body}}", tableFiles["mime"]},
	{"postmap -bmq - inline:{{{X-Part: 1}=part}{{--b}=boundary}{{in part}=body}}", tableFiles["mime"]},
	{"postmap -mq - inline:{a=b}", "a\n"}, {"postmap -bm hash:table", ""},
	{"postmap -q a inline:{a=b}", ""}, {"postmap -s inline:{a=b,{c = d e}}", ""}, {"postmap -q a static:x", ""}, {"postmap -q a fail:x", ""}, {"postmap -q - fail:x", "a\n"}, {"postmap -s fail:x", ""}, {"postmap -q a unionmap:{static:x,inline:{a=y}}", ""},
	{"postmap -q a pipemap:{inline:{a=b},inline:{b=c}}", ""}, {"postmap -q a environ:x", ""}, {"postmap -q MAIL_CONFIG environ:x", ""}, {"postmap -q 10.1.2.3 cidr:cidr", ""},
	{"postmap nowhere", ""}, {"postmap hash:nowhere", ""}, {"postmap -q x hash:nowhere", ""}, {"postmap -i hash:nodir/x", "a b\n"}, {"postmap -q x nonsense:y", ""}, {"postmap nonsense:y", ""}, {"postmap -s nonsense:y", ""},
	{"postmap", ""}, {"postmap -q", ""}, {"postmap -x", ""}, {"postmap -c nowhere -q x hash:table", ""}, {"postmap -q x", ""}, {"postmap -q x hash:", ""}, {"postmap -q x :table", ""},
	{"postmap btree:table", ""}, {"postmap -s btree:table", ""}, {"postmap -q other btree:table", ""}, {"postmap hash:table btree:table", ""}, {"postmap hash:nowhere hash:table", ""},
	{"postmap lmdb:table", ""}, {"postmap -q other lmdb:table", ""}, {"postmap -d other lmdb:table", ""}, {"postmap cdb:table", ""}, {"postmap -q other cdb:table", ""}, {"postmap -d other cdb:table", ""}, {"postmap -i cdb:table", "a b\n"},
}

var postaliasLines = []invocation{
	{"postalias hash:aliases", ""}, {"postalias -s hash:aliases", ""}, {"postalias -q root hash:aliases", ""}, {"postalias -q ROOT hash:aliases", ""}, {"postalias -q none hash:aliases", ""},
	{"postalias -q - hash:aliases", "root\nnone\na b\n"}, {"postalias -d root hash:aliases", ""}, {"postalias -d root hash:aliases", ""}, {"postalias -d - hash:aliases", "list\nnone\n"},
	{"postalias -i hash:aliases", "new: value\na b: x\n"}, {"postalias -q new hash:aliases", ""}, {"postalias -ir hash:aliases", "new: second\n"}, {"postalias -q new hash:aliases", ""}, {"postalias -iw hash:aliases", "new: third\n"},
	{"postalias -n hash:aliases", ""}, {"postalias -q root hash:aliases", ""}, {"postalias -N hash:aliases", ""}, {"postalias -f hash:aliases", ""}, {"postalias -fs hash:aliases", ""}, {"postalias -w hash:aliases", ""}, {"postalias -r hash:aliases", ""}, {"postalias -wr hash:aliases", ""},
	{"postalias -p hash:aliases", ""}, {"postalias -o hash:aliases", ""}, {"postalias btree:aliases", ""}, {"postalias -s btree:aliases", ""}, {"postalias -u hash:utf8", ""}, {"postalias nowhere", ""}, {"postalias hash:nowhere", ""}, {"postalias", ""}, {"postalias -x", ""}, {"postalias -b hash:aliases", ""},
	{"postalias -q x -s hash:aliases", ""}, {"postalias -q", ""}, {"postalias nonsense:x", ""}, {"postalias texthash:aliases", ""}, {"postalias -q root texthash:aliases", ""}, {"postalias -s texthash:aliases", ""}, {"postalias -q x fail:x", ""}, {"postalias -F hash:aliases", ""}, {"postalias -h -q x hash:aliases", ""},
	{"newaliases", ""}, {"newaliases extra", ""}, {"newaliases -x", ""}, {"sendmail -bi", ""}, {"sendmail -I", ""}, {"sendmail -bi extra", ""}, {"sendmail -bi -oA hash:aliases", ""}, {"sendmail -bi -oAhash:nowhere", ""},
}

var record = flag.Bool("record", false, "write down what Postfix's commands on tables say")

// The commands on tables take the same options as Postfix's and say the same. Postfix's
// answers are written down, as its commands wait for a second where they fail.
func TestTableOptions(t *testing.T) {
	for name, lines := range map[string][]invocation{"postmap": postmapLines, "postalias": postaliasLines} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", "answers", name+".txtar")
			if *record {
				recordAnswers(t, path, lines)
			}
			want, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(want.Files) != len(lines) {
				t.Fatalf("%s has %d answers to %d commands: run with -record", path, len(want.Files), len(lines))
			}
			r := newRoom(t, harness.Dovetail)
			for i, c := range lines {
				if want.Files[i].Name != c.line {
					t.Fatalf("%s has an answer to %q instead of %q: run with -record", path, want.Files[i].Name, c.line)
				}
				if diff := cmp.Diff(strings.Split(string(want.Files[i].Data), "\n"), strings.Split(r.run(c), "\n")); diff != "" {
					t.Errorf("%s\nPostfix (-), Dovetail (+):\n%s", c.line, diff)
				}
			}
		})
	}
}

func recordAnswers(t *testing.T, path string, lines []invocation) {
	r := newRoom(t, harness.Original)
	answers := &txtar.Archive{Comment: []byte("What Postfix 3.7.11 says: go test -run TestTableOptions -record\n")}
	for _, c := range lines {
		answers.Files = append(answers.Files, txtar.File{Name: c.line, Data: []byte(r.run(c))})
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	harness.Write(t, path, string(txtar.Format(answers)))
}

// A room is a directory with commands of one program and files.
type room struct{ dir string }

func newRoom(t *testing.T, p harness.Program) *room {
	r := &room{dir: harness.Dir(t)}
	if err := os.Chmod(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range tableFiles {
		harness.Write(t, filepath.Join(r.dir, name), text)
	}
	harness.Write(t, filepath.Join(r.dir, "cidr"), "10.0.0.0/8 ten\n10.1.0.0/33 bad\n")
	harness.Write(t, filepath.Join(r.dir, "main.cf"), "compatibility_level = 3.6\nqueue_directory = "+r.dir+"/spool\ndata_directory = "+r.dir+"\nmyhostname = mail.example.test\n"+
		"alias_database = hash:"+r.dir+"/aliases\nalias_maps =\nmail_owner = postfix\ninet_interfaces = 127.0.0.1\n")
	harness.Write(t, filepath.Join(r.dir, "master.cf"), "")
	for _, sub := range []string{"bin", "spool"} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"postmap", "postalias", "newaliases", "sendmail", "postqueue", "mailq", "postsuper"} {
		from := harness.Binary(t)
		if p == harness.Original {
			from = "/usr/sbin/" + name
			if name == "newaliases" || name == "mailq" {
				from = "/usr/sbin/sendmail"
			}
		}
		if err := os.Symlink(from, filepath.Join(r.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// run runs a command and returns its status, output and complaints, sorted: tables have
// orders of their own.
func (r *room) run(c invocation) string {
	words := strings.Split(c.line, " ")
	cmd := exec.Command(filepath.Join(r.dir, "bin", words[0]), words[1:]...)
	cmd.Args[0] = words[0]
	cmd.Dir = r.dir
	cmd.Env = []string{"MAIL_CONFIG=" + r.dir, "PATH=" + filepath.Join(r.dir, "bin") + ":/usr/bin:/bin", "LC_ALL=C"}
	cmd.Stdin = strings.NewReader(c.stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error()
	}
	out := strings.Split(stdout.String(), "\n")
	slices.Sort(out)
	text := fmt.Sprintf("exit status %d\n%s\n%s", cmd.ProcessState.ExitCode(), strings.Join(out, "\n"), stderr.String())
	text = strings.TrimRight(text, "\n") + "\n"
	return lastModified.ReplaceAllString(strings.ReplaceAll(text, r.dir, "DIR"), "${1}TIME")
}

var lastModified = regexp.MustCompile(`(YP_LAST_MODIFIED:?\s+)\d+`)

package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// shortMail has a line after the one that may end it.
const shortMail = "Subject: x\n\nbody\n.\nmore\n"

// sendmailLines leave out what test/tools/testdata/sendmail.txtar has and what docs/differences.md
// tells: -qR, -qI and -C, what -t does to headers that it passes on, and mailq with options that
// make it another command.
var sendmailLines = []invocation{
	// What is not for a message.
	{"sendmail", ""}, {"sendmail -bm", "x\n"}, {"sendmail -bp", ""}, {"sendmail -bp a", ""}, {"sendmail -bpx", ""}, {"sendmail -b", ""}, {"sendmail -bx a", ""}, {"sendmail -bh", ""}, {"sendmail -bH", ""}, {"sendmail -bt", ""},
	{"sendmail -bi a", ""}, {"sendmail -I a", ""}, {"sendmail -bd a", ""}, {"sendmail -bl a", ""}, {"sendmail -bs a", ""}, {"sendmail -q a", ""}, {"sendmail -qRx a", ""}, {"sendmail -qIx a", ""}, {"sendmail -qR", ""}, {"sendmail -qI", ""},
	{"sendmail -qx", ""}, {"sendmail -qS", ""}, {"sendmail -q1h", ""}, {"sendmail -q1h a", ""}, {"sendmail -qf", ""}, {"sendmail -qRx -bp", ""}, {"sendmail -qIx -q", ""}, {"sendmail -t -q", ""}, {"sendmail -t -bs", ""}, {"sendmail -bp -t", ""},
	{"sendmail -q", ""}, {"sendmail -q -bd a", ""}, {"sendmail -bd -q a", ""}, {"sendmail -bd -q1h a", ""}, {"sendmail -bs -q", ""},
	{"sendmail -bh -bm a@remote.test", shortMail}, {"sendmail -bp -bm a@remote.test", shortMail},
	// Options that are refused, or lack a value.
	{"sendmail -n", ""}, {"sendmail -Z", ""}, {"sendmail -f", ""}, {"sendmail -B", ""}, {"sendmail -Bx a", ""}, {"sendmail -B8bitmime a", ""}, {"sendmail -X", ""}, {"sendmail -Xl a", ""}, {"sendmail -X /log a", ""}, {"sendmail -XVx a", ""}, {"sendmail -XVab a", ""}, {"sendmail -XV+=- a", ""},
	{"sendmail -oA", ""}, {"sendmail -oA x", ""}, {"sendmail -o", ""}, {"sendmail -C", ""}, {"sendmail -N", ""}, {"sendmail -R", ""}, {"sendmail -V", ""}, {"sendmail -h", ""}, {"sendmail -itZ", ""}, {"sendmail --help", ""}, {"sendmail -", shortMail},
	{"sendmail -d a@remote.test", shortMail}, {"sendmail -D a@remote.test", shortMail}, {"sendmail -s a@remote.test", shortMail}, {"sendmail -w a@remote.test", shortMail}, {"sendmail -E a@remote.test", shortMail},
	// Options that go to or against each other.
	{"sendmail -bv -t", ""}, {"sendmail -bv -N never a", ""}, {"sendmail -bv -R full a", ""}, {"sendmail -bv -v a", ""}, {"sendmail -bv a@remote.test b@remote.test", ""}, {"sendmail -bv -f <> a@remote.test", ""}, {"sendmail -bv", ""}, {"sendmail -v a@remote.test", shortMail}, {"sendmail -v -bp a", ""},
	{"sendmail -XV -f <> a@remote.test", shortMail}, {"sendmail -t", "X: y\n\nbody\n"}, {"sendmail -t", ""}, {"sendmail -t b@remote.test", "To: a@remote.test\n\n"}, {"sendmail -t", "To: undisclosed-recipients:;\n\n"}, {"sendmail -t", "To:\n\n"},
	{"sendmail -t", "To: a@remote.test\nCC: b@remote.test\nbcc:c@remote.test\nSender: d@remote.test\n\n"}, {"sendmail -t", "Resent-Bcc: a@remote.test\nTo: b@remote.test\n\n"}, {"sendmail -t", "From x y\nTo: a@remote.test\n\n"}, {"sendmail -t", "not a header\nTo: a@remote.test\n\n"},
	{"sendmail -t", "To: a@remote.test\n\nTo: b@remote.test\n"}, {"sendmail -t", "To: a@remote.test, , <>, \"x y\"@remote.test, z\n\n"}, {"sendmail -t -N success", "To: a@remote.test, b@remote.test\n\n"}, {"sendmail -t", "Apparently-To: a@remote.test\nErrors-To: b@remote.test\nReturn-Receipt-To: c@remote.test\n\n"},
	// The envelope.
	{"sendmail a@remote.test", shortMail}, {"sendmail -i a@remote.test", shortMail}, {"sendmail -oi a@remote.test", shortMail}, {"sendmail -oitrue a@remote.test", shortMail}, {"sendmail -o i a@remote.test", shortMail}, {"sendmail -iem a@remote.test", shortMail}, {"sendmail -em -m a@remote.test", shortMail}, {"sendmail -it a@remote.test", "To: b@remote.test\n\n.\nx\n"},
	{"sendmail -odb -oem -om -ox a@remote.test", shortMail}, {"sendmail -Ac a@remote.test", shortMail}, {"sendmail -Am a@remote.test", shortMail}, {"sendmail -L tag a@remote.test", shortMail}, {"sendmail -O option=x a@remote.test", shortMail}, {"sendmail -h 5 a@remote.test", shortMail}, {"sendmail -p smtp:x a@remote.test", shortMail}, {"sendmail -U a@remote.test", shortMail}, {"sendmail -c -x a@remote.test", shortMail}, {"sendmail -e q a@remote.test", shortMail},
	{"sendmail -f a@b.test -f c@d.test a@remote.test", shortMail}, {"sendmail -fa@b.test a@remote.test", shortMail}, {"sendmail -r a@b.test a@remote.test", shortMail}, {"sendmail -f <> a@remote.test", shortMail}, {"sendmail -f <a@b.test> a@remote.test", shortMail}, {"sendmail -f a,b a@remote.test", shortMail}, {"sendmail -f , a@remote.test", shortMail}, {"sendmail -f \"x_y\"@b.test a@remote.test", shortMail}, {"sendmail -f  a@remote.test", shortMail},
	{"sendmail -F Name a@remote.test", shortMail}, {"sendmail -F  a@remote.test", shortMail}, {"sendmail -FName -fa@b.test a@remote.test", shortMail}, {"sendmail -G a@remote.test", shortMail}, {"sendmail -B7BIT a@remote.test", shortMail}, {"sendmail -B 8BITMIME a@remote.test", shortMail},
	{"sendmail -N never a@remote.test", shortMail}, {"sendmail -N success,failure,delay a@remote.test", shortMail}, {"sendmail -N SUCCESS a@remote.test", shortMail}, {"sendmail -N never,success a@remote.test", shortMail}, {"sendmail -N x a@remote.test", shortMail}, {"sendmail -N  a@remote.test", shortMail}, {"sendmail -N success,success a@remote.test", shortMail}, {"sendmail -N never -N delay a@remote.test", shortMail},
	{"sendmail -R full a@remote.test", shortMail}, {"sendmail -R hdrs a@remote.test", shortMail}, {"sendmail -RHDRS a@remote.test", shortMail}, {"sendmail -R x a@remote.test", shortMail}, {"sendmail -V id+1=2 a@remote.test", shortMail}, {"sendmail -V  a@remote.test", shortMail}, {"sendmail -V é a@remote.test", shortMail}, {"sendmail -Vabc a@remote.test", shortMail}, {"sendmail -V " + strings.Repeat("v", 100) + " a@remote.test", shortMail}, {"sendmail -V " + strings.Repeat("v", 101) + " a@remote.test", shortMail},
	{"sendmail -XV a@remote.test", shortMail}, {"sendmail -XV-= a@remote.test", shortMail}, {"sendmail -XV -= a@remote.test", shortMail}, {"sendmail -V a@remote.test", shortMail}, {"sendmail -V-= a@remote.test", shortMail}, {"sendmail -V ab a@remote.test", shortMail}, {"sendmail -Vab a@remote.test", shortMail}, {"sendmail -V=+ -f <> a@remote.test", shortMail},
	// Arguments.
	{"sendmail a@remote.test -f b@c.test", shortMail}, {"sendmail -- -a@remote.test", shortMail}, {"sendmail a@remote.test,b@remote.test c@remote.test", shortMail}, {"sendmail <a@remote.test>", shortMail}, {"sendmail <>", shortMail}, {"sendmail ", shortMail}, {"sendmail ,", shortMail}, {"sendmail x:a@remote.test,b@remote.test;", shortMail}, {"sendmail a@[127.0.0.1]", shortMail}, {"sendmail @b.test:a@remote.test", shortMail}, {"sendmail a(comment)@remote.test", shortMail}, {"sendmail \"a", shortMail}, {"sendmail a@é.test", shortMail}, {"sendmail a@remote.test a@remote.test", shortMail}, {"sendmail |cmd /file :include:/x", shortMail},
	// Text.
	{"sendmail a@remote.test", ""}, {"sendmail a@remote.test", "\n"}, {"sendmail a@remote.test", "."}, {"sendmail a@remote.test", ".\n"}, {"sendmail a@remote.test", ".\r\nx\r\n"}, {"sendmail a@remote.test", "a\r\n.\r\nx\r\n"}, {"sendmail a@remote.test", "a\r\r\nb\rc\n"}, {"sendmail a@remote.test", "From x\n>From y\n>>From z\na\n"}, {"sendmail a@remote.test", "a\x00b\nc"}, {"sendmail a@remote.test", "From \nFrom\n"},
	// Other names.
	{"mailq", ""}, {"mailq a", ""}, {"newaliases -bp", ""}, {"newaliases -bm a@remote.test", shortMail},
}

// sendmail(1) takes the options of Postfix's, says the same to its user, and leaves the same files
// in the maildrop.
func TestSendmailOptions(t *testing.T) {
	path := filepath.Join("testdata", "answers", "sendmail.txtar")
	if *record {
		recordSendmail(t, path)
	}
	want, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Files) != len(sendmailLines) {
		t.Fatalf("%s has %d answers to %d commands: run with -record", path, len(want.Files), len(sendmailLines))
	}
	s := stopped(t, harness.Dovetail)
	for i, c := range sendmailLines {
		if want.Files[i].Name != quoted(c) {
			t.Fatalf("%s has an answer to %s instead of %s: run with -record", path, want.Files[i].Name, quoted(c))
		}
		if diff := cmp.Diff(strings.Split(string(want.Files[i].Data), "\n"), strings.Split(s.submit(t, c), "\n")); diff != "" {
			t.Errorf("%s\nPostfix (-), Dovetail (+):\n%s", quoted(c), diff)
		}
	}
}

func recordSendmail(t *testing.T, path string) {
	s := stopped(t, harness.Original)
	answers := &txtar.Archive{Comment: []byte("What Postfix 3.7.11 says, and the records it writes: go test -run TestSendmailOptions -record\n")}
	for _, c := range sendmailLines {
		answers.Files = append(answers.Files, txtar.File{Name: quoted(c), Data: []byte(s.submit(t, c))})
	}
	harness.Write(t, path, string(txtar.Format(answers)))
}

// quoted names an invocation in one line.
func quoted(c invocation) string { return fmt.Sprintf("%q < %q", c.line, c.stdin) }

// stopped is a site whose mail system is down, so that mail stays in the maildrop.
func stopped(t *testing.T, p harness.Program) *site {
	s := newSite(t, p, "alias_database =\nalias_maps =\n")
	s.Start(t)
	s.Stop()
	return s
}

// arrival is a time record of a file in the maildrop.
var arrival = regexp.MustCompile(`^T.[0-9]+ [0-9]+`)

// submit runs a command as a user, and takes away what it has left in the maildrop: that is part of
// the answer, a record a line.
func (s *site) submit(t *testing.T, c invocation) string {
	t.Helper()
	words := strings.Split(c.line, " ")
	// Debian has the other names of sendmail elsewhere.
	called := []string{"bash", "-c", `exec -a "$0" "$@"`, words[0], filepath.Join(s.sbin, "sendmail")}
	r := s.as(t, submitUser, c.stdin, append(called, words[1:]...)...)
	var text strings.Builder
	fmt.Fprintf(&text, "exit status %d\n%s", r.Status, strings.ReplaceAll(r.Output, "service: Connection refused", "service: No such file or directory"))
	for _, f := range s.maildrop(t) {
		path := filepath.Join(s.Dir, "spool", "maildrop", f.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range records(arrival.ReplaceAllString(string(b), "T\x00")) {
			fmt.Fprintf(&text, "%q\n", record)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// records cuts a queue file of short records into them: a type, a length below 128, and the data.
func records(file string) (all []string) {
	for len(file) >= 2 {
		end := min(len(file), 2+int(file[1]))
		all = append(all, file[:1]+" "+file[2:end])
		file = file[end:]
	}
	return all
}

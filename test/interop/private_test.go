package interop

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Two users of a public mailbox have read different messages: \Seen is in an index that each has for
// himself, or, in a Maildir with dovecot-shared, in his own index of the mailbox. A turn is
// one session.
type privateTurn struct {
	user     int
	commands []string
}

const privateMail = "Subject: private\r\n\r\nwho has read it?\r\n"

func appendPrivate(flags string) string {
	return fmt.Sprintf("APPEND Public/@ (%s) {%d+}\r\n%s", flags, len(privateMail), privateMail)
}

const privateLook = "FETCH 1:* (UID FLAGS MODSEQ)"

var privateTurns = []privateTurn{
	{0, []string{
		appendPrivate(""), "SELECT Public/@", privateLook, "CLOSE", // from here on the index keeps modseqs
		appendPrivate(`\Seen`), appendPrivate(`\Flagged \Seen`), appendPrivate("word"),
		"SELECT Public/@", privateLook, "SEARCH UNSEEN", `STORE 1 +FLAGS (\Seen)`, `STORE 1:2 +FLAGS (\Seen \Answered)`, privateLook,
	}},
	{1, []string{
		"SELECT INBOX", "STATUS Public/@ (MESSAGES UNSEEN UIDNEXT HIGHESTMODSEQ)",
		"SELECT Public/@", privateLook, "SEARCH SEEN", `STORE 3 +FLAGS (\Seen \Answered)`, "FETCH 4 (BODY[TEXT])", privateLook,
		"COPY 3:4 Public/@", "NOOP", privateLook, "COPY 1,3 INBOX", "SELECT INBOX", "FETCH 1:* (FLAGS)",
	}},
	{0, []string{
		"SELECT Public/@", privateLook, "SEARCH UNSEEN", `STORE 1:4 -FLAGS (\Seen)`, `STORE 3 -FLAGS (\Seen)`, `STORE 2:4 FLAGS (\Seen)`,
		`STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\Seen)`, `STORE 1:* +FLAGS.SILENT (\Seen)`, "SEARCH MODSEQ 9", privateLook,
	}},
	{1, []string{
		"SELECT Public/@", privateLook, `STORE 2 +FLAGS (\Deleted)`, "EXPUNGE", privateLook, "MOVE 1 INBOX", privateLook,
		"STATUS INBOX (MESSAGES UNSEEN)", `STORE 1 FLAGS (new)`, "CLOSE",
	}},
	{0, []string{
		"STATUS Public/@ (MESSAGES UNSEEN)", "EXAMINE Public/@", privateLook, "CLOSE", appendPrivate(`\Seen \Draft`), appendPrivate(""),
		"SELECT Public/@", privateLook, "SEARCH NOT SEEN",
	}},
	{1, []string{"SELECT Public/@", privateLook, "SEARCH OR SEEN DRAFT", `STORE 1:* +FLAGS (\Deleted)`, "CLOSE", appendPrivate(`\Seen`), "SELECT Public/@", privateLook}},
	{0, []string{"SELECT Public/@", privateLook, "CLOSE", "STATUS Public/@ (MESSAGES UNSEEN)", "RENAME Public/@ Public/@2", "SELECT Public/@2", privateLook}},
	{1, []string{
		"SELECT Public/@2", privateLook, "CLOSE", "DELETE Public/@2", "CREATE Public/@", appendPrivate(""), appendPrivate(`\Seen`),
		"SELECT Public/@", "FETCH 1:* FLAGS", `STORE 1 +FLAGS (\Seen)`, "FETCH 1:* FLAGS",
	}},
	{0, []string{"SELECT Public/@", "FETCH 1:* FLAGS", "CLOSE", "STATUS Public/@ (MESSAGES UNSEEN)"}},
}

// TestPrivateFlags plays the turns on each server alone and on both by turns: what clients are
// told is the same.
func TestPrivateFlags(t *testing.T) {
	for _, f := range []struct{ name, location string }{
		{"sdbox", "sdbox:~/../public:INDEXPVT=~/private"},
		{"mdbox", "mdbox:~/../public:INDEXPVT=~/private"},
		{"maildir", "maildir:~/../public:INDEXPVT=~/private"},
		{"maildir-fs", "maildir:~/../public:LAYOUT=fs:INDEXPVT=~/private:INDEX=~/../index"},
		{"mbox", "mbox:~/../public:INDEXPVT=~/private"},
		{"dovecot-shared", "maildir:~/../public:INDEX=~/index"},
	} {
		t.Run(f.name, func(t *testing.T) {
			extra := pairSettings + "namespace public {\n type = public\n separator = /\n prefix = Public/\n subscriptions = no\n location = " + f.location + "\n}\n"
			p := newPair(t, harness.MailboxOptions{Users: 8, Extra: extra})
			p.equalPlays(t, func(n int, servers []int) []string {
				return p.playPrivate(t, fmt.Sprintf("play%d", n), 2*n, servers, f.name == "dovecot-shared")
			})
		})
	}
}

// playPrivate returns all that the servers say.
func (p *pair) playPrivate(t *testing.T, box string, user int, servers []int, shared bool) []string {
	first := harness.Connect(t, p.servers[servers[0]].IMAP)
	if err := first.Login(user); err != nil {
		t.Fatal(err)
	}
	first.Must(t, "CREATE Public/"+box)
	first.Close()
	turns := privateTurns
	if shared {
		path := p.servers[0].Mail + "/public/." + box + "/dovecot-shared"
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		turns = turns[:6] // the new mailbox is not shared
		// Each user's index counts the changes that it finds in file names.
		without := regexp.MustCompile(`(?m)^\* OK \[HIGHESTMODSEQ .*\n| HIGHESTMODSEQ \d+| MODSEQ \(\d+\)|MODSEQ \(\d+\) `)
		return strings.Split(without.ReplaceAllString(strings.Join(p.converse(t, turns, box, user, servers), "\n"), ""), "\n")
	}
	return p.converse(t, turns, box, user, servers)
}

// converse plays turns, on one server after the other, and returns all that they say. "@" stands
// for a name of this play, "<0>" and "<1>" for its users.
func (p *pair) converse(t *testing.T, turns []privateTurn, box string, user int, servers []int) (said []string) {
	t.Helper()
	in := strings.NewReplacer("@", box, "<0>", harness.User(user), "<1>", harness.User(user+1))
	out := strings.NewReplacer(box, "@", harness.User(user), "<0>", harness.User(user+1), "<1>")
	for n, turn := range turns {
		c := harness.Connect(t, p.servers[servers[n%2]].IMAP)
		if err := c.Login(user + turn.user); err != nil {
			t.Fatal(err)
		}
		for _, command := range turn.commands {
			untagged, ok, err := c.IMAP(in.Replace(command))
			if err != nil {
				ok = err.Error()
			}
			said = append(said, fmt.Sprintf("turn %d: C: %s", n, command))
			untagged = slices.DeleteFunc(untagged, func(line string) bool { return strings.HasPrefix(line, "* OK [MAILBOXID ") }) // RFC 8474, only ours
			for i, line := range untagged {
				untagged[i] = plain(out.Replace(line))
			}
			if strings.HasPrefix(command, "LIST") {
				slices.Sort(untagged)
			}
			said = append(append(said, untagged...), "tagged "+plain(out.Replace(ok)))
		}
		c.Close()
	}
	return said
}

// equalPlays plays on each server alone and on both by turns. All must say the same, and log no errors.
func (p *pair) equalPlays(t *testing.T, play func(n int, servers []int) []string) {
	t.Helper()
	var want []string
	for n, servers := range [][]int{{1, 1}, {0, 0}, {0, 1}, {1, 0}} {
		got := play(n, servers)
		if err := p.complaints(); err != nil && !notFound.MatchString(err.Error()) {
			t.Error(err)
		}
		if n == 0 {
			want = got
			continue
		}
		for i := range want {
			if i >= len(got) || got[i] != want[i] {
				t.Fatalf("servers %v:\n%s\n got %s\nwant %s", servers,
					strings.Join(want[max(i-8, 0):i], "\n"), strings.Join(got[min(i, len(got)):min(i+3, len(got))], "\n     "), want[i])
			}
		}
	}
}

// notFound is in what Dovecot logs of each user who does not exist.
var notFound = regexp.MustCompile(`/user-not-found/`)

var notPlain = regexp.MustCompile(`\[UIDVALIDITY \d+\]|\[MAILBOXID [^\]]*\] |(APPENDUID|COPYUID) \d+| \\(?:Unm|UnM|M)arked| \([0-9.]+ \+ .* secs\)`)

// plain removes what differs from one mailbox to the next.
func plain(line string) string { return strings.TrimRight(notPlain.ReplaceAllString(line, "$1"), " .") }

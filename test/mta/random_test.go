package mta

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

var (
	numConfigs = flag.Int("configs", 4, "how many configurations TestRandom compares")
	firstSeed  = flag.Uint64("seed", 88, "of the first configuration")
)

// TestRandom gives both programs the same configurations and tables, chosen at random, and
// the same mail, also by sendmail -bv, and compares what postconf and postmap say, replies,
// log lines, what next hops get, and mailboxes. Each configuration has a seed of its own,
// so that one can be looked at alone: -configs 1 -seed N.
func TestRandom(t *testing.T) {
	t.Parallel()
	programs := []harness.Program{harness.Original, harness.Dovetail}
	var sites [2]*randomSite
	for i, p := range programs {
		sites[i] = newRandomSite(t, p)
	}
	for n := range *numConfigs {
		seed := *firstSeed + uint64(n)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newRandomConfig(rand.New(rand.NewPCG(seed, 6)))
			theirs, ours := sites[0].try(t, c), sites[1].try(t, c)
			switch {
			case theirs.Storm && ours.Storm:
				theirs, ours = theirs.answers(), ours.answers()
			case endless(sites[0].said), endless(sites[1].said):
				theirs, ours = tried{Postconf: theirs.Postconf, Postmap: theirs.Postmap}, tried{Postconf: ours.Postconf, Postmap: ours.Postmap}
			case inCircles(sites[0].said), inCircles(sites[1].said), bouncesTwice(sites[1].said), expandsRedirected(sites[0].said):
				theirs, ours = theirs.answers(), ours.answers()
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s\n%s\n%s\n%s", diff, c, sites[0].said, sites[1].said)
			}
		})
	}
}

// A randomConfig is a configuration and mail for it.
type randomConfig struct {
	set    map[string]string
	tables map[string][][2]string // by file
	mail   []randomMail
	verify []string // addresses for sendmail -bv
	verp   bool     // clients may ask for VERP
}

type randomMail struct {
	from, mailParams string
	to               []string // with parameters
	header, body     string
}

// String is for a person who looks for the cause of a difference.
func (c *randomConfig) String() string {
	var b strings.Builder
	for _, name := range sortedKeys(c.set) {
		fmt.Fprintf(&b, "%s = %s\n", name, c.set[name])
	}
	for _, name := range sortedKeys(c.tables) {
		fmt.Fprintf(&b, "%s: %q\n", name, c.tables[name])
	}
	fmt.Fprintf(&b, "%q\n%q", c.mail, c.verify)
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// A randomSite is a running site whose configuration changes.
type randomSite struct {
	*site
	hop     *harness.NextHop
	letters int        // that were compared
	said    string     // what was logged about the last configuration
	whole   *testing.T // as long as the service runs
}

// randomMain is what main.cf has in any case.
const randomMain = `mydomain = example.com
mydestination = $myhostname, localhost, example.com
default_transport = smtp:[127.0.0.1]:@HOP@
relay_transport = relay:[127.0.0.1]:@HOP@
maximal_backoff_time = 4000s
hopcount_limit = 12
virtual_mailbox_base = @DIR@/mail
virtual_uid_maps = static:21400
virtual_gid_maps = static:21400
smtpd_recipient_restrictions = permit_mynetworks
`

func newRandomSite(t *testing.T, p harness.Program) *randomSite {
	hop := harness.StartNextHop(t, &harness.NextHop{Replies: map[string]string{"hard": "550 5.1.1 no such user", "soft": "450 4.2.0 not now", "late": ".554 5.7.1 no"}})
	s := &randomSite{site: newSite(t, p, harness.Dir(t)), hop: hop, whole: t}
	s.values["HOP"] = hop.Port()
	s.write(t, "main.cf", lastOnly(baseMain+randomMain))
	s.start(t)
	return s
}

// A tried is what came of a configuration.
type tried struct {
	Postconf, Postmap, Replies, Log, Letters, Mailboxes []string

	Storm bool // a list returns mail to itself, for ever
}

func (s *randomSite) try(t *testing.T, c *randomConfig) (got tried) {
	text := baseMain + randomMain
	for _, name := range sortedKeys(c.set) {
		text += name + " = " + c.set[name] + "\n"
	}
	s.write(t, "main.cf", lastOnly(text))
	for _, name := range sortedKeys(c.tables) {
		got.Postmap = append(got.Postmap, s.makeTable(t, name, c.tables[name]))
	}
	got.Postconf = strings.Split(s.normal(s.run(t, "", "postconf", append([]string{"-x"}, sortedKeys(c.set)...)...)), "\n")
	s.reload(t)
	for _, m := range c.mail {
		got.Replies = append(got.Replies, s.submit(t, &m))
	}
	for _, addr := range c.verify {
		harness.Run(t, "", "env", "MAIL_CONFIG="+s.Config, filepath.Join(s.sbin, "sendmail"), "-bv", "-f", "verifier@origin.example", addr)
	}
	if got.Storm = s.storms(t); got.Storm {
		s.calm(t)
		return got
	}
	s.said = s.log()[s.mark:]
	got.Log = s.linesOf(s.said)
	if strings.Contains(s.said, ": redirect: ") { // Postfix counts the recipients that are replaced
		for i := range got.Log {
			got.Log[i] = recipientCount.ReplaceAllString(got.Log[i], "")
		}
	}
	for _, l := range s.hop.Letters()[s.letters:] {
		s.letters++
		got.Letters = append(got.Letters, s.unordered(&l))
	}
	slices.Sort(got.Letters)
	got.Letters = strings.Split(strings.Join(got.Letters, "\n--\n"), "\n")
	got.Mailboxes = s.takeMail(t)
	s.run(t, "", "postsuper", "-d", "ALL")
	s.mark = len(s.log())
	return got
}

// A log as long as stormLength is of mail that begets mail: other configurations have a few
// hundred lines at most, in 50 KB.
const stormLength = 100 << 10

// storms waits until no mail is on its way, and reports whether that never will be.
func (s *randomSite) storms(t *testing.T) (storm bool) {
	t.Helper()
	rests := 0
	harness.Eventually(t, "all mail delivered or deferred", func() bool {
		storm = len(s.log())-s.mark > stormLength
		if rests++; !s.resting(t) {
			rests = 0
		}
		return storm || rests > 1
	})
	return storm
}

// calm ends a storm: nothing returns to where it came from any more, and no delivery is
// under way.
func (s *randomSite) calm(t *testing.T) {
	t.Helper()
	s.write(t, "main.cf", lastOnly(baseMain+randomMain+"default_transport = discard\nrelay_transport = discard\nlocal_transport = discard\n"))
	s.Stop()
	s.Start(s.whole)
	rests := 0
	harness.Eventually(t, "the end of the storm", func() bool {
		// Postfix's fails while postlogd starts.
		_, err := harness.Try("", filepath.Join(s.sbin, "postsuper"), "-c", s.Config, "-d", "ALL")
		if rests++; err != nil || strings.Contains(s.run(t, "", "postqueue", "-j"), "{") {
			rests = 0
		}
		return rests > 3 // a message may be on its way from one process to the next
	})
	s.said = s.log()[s.mark:]
	s.mark, s.letters = len(s.log()), len(s.hop.Letters())
	s.takeMail(t)
}

// endless tells whether aliases had no end. Dovetail expands them after it has looked at the
// content, which may say something else of the message.
func endless(log string) bool { return strings.Contains(log, ": unreasonable virtual_alias_maps") }

// inCircles tells whether mail was forwarded until it had too many hops. Postfix's cleanup
// takes it and returns it to the forwarder then, Dovetail's refuses it.
func inCircles(log string) bool { return strings.Contains(log, "(too many hops)") }

// expandsRedirected tells whether mail may have been redirected after Postfix had expanded its
// aliases and reported that, which Dovetail does not do then.
func expandsRedirected(log string) bool {
	return strings.Contains(log, ": redirect: ") && strings.Contains(log, ": sender delivery status notification: ")
}

// bouncesTwice tells whether the members of an alias were reported apart from other recipients,
// as docs/differences.md has it. What follows, such as bounces of bounces, differs then.
func bouncesTwice(log string) bool {
	seen := make(map[string]bool)
	for _, m := range bounced.FindAllStringSubmatch(log, -1) {
		if seen[m[1]] {
			return true
		}
		seen[m[1]] = true
	}
	return false
}

var recipientCount = regexp.MustCompile(`, nrcpt=\d+`)

var bounced = regexp.MustCompile(`/bounce\[\d+\]: ([0-9A-F]+): sender non-delivery notification`)

// answers are those parts that do not depend on how failures are reported.
func (t tried) answers() tried {
	return tried{Postconf: t.Postconf, Postmap: t.Postmap, Replies: t.Replies, Storm: t.Storm}
}

// unordered is a letter in which the order of recipients has no effect: that of commands, and
// that of the paragraphs of a report.
func (s *site) unordered(l *harness.Letter) string {
	slices.Sort(l.To)
	content := anyOrder(strings.ReplaceAll(l.Content, "\r\n", "\n"))
	return s.normal(l.From + "\n" + silentORCPT.ReplaceAllString(strings.Join(l.To, "\n"), " NOTIFY=NEVER") + "\n\n" + content)
}

// anyOrder is a message whose paragraphs, if it is a report, are sorted: what failed first is
// a matter of time.
func anyOrder(message string) string {
	if !strings.Contains(message, "report-type=delivery-status") {
		return message
	}
	paragraphs := strings.Split(message, "\n\n")
	for i, p := range paragraphs {
		if expandedList.MatchString(p) {
			paragraphs[i] = "alias expanded"
		}
	}
	slices.Sort(paragraphs[1:])
	return strings.Join(paragraphs, "\n\n")
}

// expandedList is what a report of success says of an alias: ours knows the address that it
// comes from also for a list with an owner.
var expandedList = regexp.MustCompile(`delivery\s+via\s+local:\s+alias\s+expanded$`)

// silentORCPT is the original recipient of copies, which differs where an alias has a copy, and
// of whom nobody is told.
var silentORCPT = regexp.MustCompile(` ORCPT=\S+ NOTIFY=NEVER`)

// makeTable writes a table and returns what postmap finds in it.
func (s *randomSite) makeTable(t *testing.T, name string, rows [][2]string) string {
	var source, keys strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&source, "%s %s\n", row[0], row[1])
		fmt.Fprintf(&keys, "%s\n%s\n", row[0], strings.ToUpper(row[0]))
	}
	s.write(t, name, source.String())
	spec := "hash:" + filepath.Join(s.Config, name)
	s.run(t, "", "postmap", spec)
	out, _ := harness.Try(keys.String()+"nothing@here\n", filepath.Join(s.sbin, "postmap"), "-c", s.Config, "-q", "-", spec) //nolint:errcheck // 1 means not found
	return s.normal(out)
}

// submit sends a message and returns the replies.
func (s *randomSite) submit(t *testing.T, m *randomMail) string {
	c := dialFrom(t, "127.0.0.1", s.SMTP)
	defer c.Close()
	commands := []string{"EHLO client.example", "MAIL FROM:<" + m.from + ">" + m.mailParams}
	for _, to := range m.to {
		commands = append(commands, "RCPT TO:"+to)
	}
	var replies []string
	for _, command := range append(commands, "DATA") {
		reply, err := c.Ask(command)
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
	}
	if last := len(replies) - 1; replies[last][0] == '3' {
		reply, err := c.Ask(m.header + "Message-ID: <random@origin.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\n" + m.body + ".")
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
	}
	c.Ask("QUIT") //nolint:errcheck // the message has gone
	return s.normal(queueID.ReplaceAllString(strings.Join(replies[1:], "\n"), "ID"))
}

// takeMail returns the content of the mailboxes and removes them.
func (s *randomSite) takeMail(t *testing.T) (all []string) {
	files, err := os.ReadDir(s.mail)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(s.mail, f.Name())
		letters := strings.Split("\n\n"+mboxDate.ReplaceAllString(strings.TrimRight(s.normal(read(t, path)), "\n"), "$1 DATE"), "\n\nFrom ")
		for i := range letters {
			letters[i] = anyOrder(letters[i])
		}
		slices.Sort(letters)
		all = append(append(all, f.Name()), strings.Split(strings.Join(letters, "\n\nFrom "), "\n")...)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

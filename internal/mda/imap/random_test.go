package imap

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	randomSeed  = flag.Uint64("seed", 1, "first seed of TestRandomDovecot")
	randomCount = flag.Uint64("seeds", 6, "how many seeds TestRandomDovecot plays")
)

// TestRandomDovecot plays random commands of two sessions, by turns, on this server and on Dovecot and
// compares the answers. To look for differences:
//
//	go test -run TestRandomDovecot -seed 1000 -seeds 500
func TestRandomDovecot(t *testing.T) {
	if _, err := os.Stat(dovecotIMAP); err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	for seed := *randomSeed; seed < *randomSeed+*randomCount; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			compareRandom(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

// randomCommands is how many commands a seed has.
const randomCommands = 60

func compareRandom(t *testing.T, r *rand.Rand) {
	g := &generator{Rand: r}
	theirs := newDovecot(t, nil)
	ours := newTestServer(t, nil)
	var pairs [2][2]*player
	for i := range pairs {
		pairs[i] = [2]*player{newPlayer(t, theirs(t)), newPlayer(t, ours.dial(t))}
	}
	var history strings.Builder
	for n := range randomCommands {
		who := g.IntN(2)
		text := g.command()
		if n < 4 {
			text = g.append()
		}
		fmt.Fprintf(&history, "%d: %q\n", who+1, text)
		want, got := pairs[who][0].say(t, text), pairs[who][1].say(t, text)
		if ended(want) {
			// Where Dovecot notices that the mailbox has gone or got another name depends on what it has in
			// memory; the other must have noticed by the end of the next command.
			if !ended(got) && !ended(pairs[who][1].say(t, "NOOP")) {
				t.Fatalf("after\n%sDovecot: %q\nours go on: %q", history.String(), want, got)
			}
			return
		}
		if ended(got) && strings.Contains(history.String(), ": \"RENAME ") {
			return // Dovecot notices later, by chance
		}
		if !slices.Equal(want, got) {
			t.Fatalf("after\n%sDovecot: %q\nours:    %q", history.String(), want, got)
		}
	}
}

// ended reports whether the session has ended, or is about to, because its mailbox is gone or it has made too
// many mistakes.
func ended(answers []string) bool {
	return slices.ContainsFunc(answers, func(line string) bool {
		return strings.HasPrefix(line, "* BYE ") || strings.Contains(line, "Mailbox was deleted under us")
	})
}

// A player is a session that commands are played in.
type player struct {
	net.Conn
	r *bufio.Reader
}

func newPlayer(t *testing.T, c net.Conn) *player {
	p := &player{c, bufio.NewReader(c)}
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := p.response(); err != nil {
		t.Fatal(err)
	}
	return p
}

var responseLiteral = regexp.MustCompile(`\{([0-9]+)\}\r\n$`)

// response reads one response with its literals.
func (p *player) response() (string, error) {
	var b strings.Builder
	for {
		line, err := p.r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), err
		}
		m := responseLiteral.FindStringSubmatch(line)
		if m == nil {
			return b.String(), nil
		}
		size, err := strconv.ParseInt(m[1], 10, 32)
		if err == nil {
			_, err = io.CopyN(&b, p.r, size)
		}
		if err != nil {
			return b.String(), err
		}
	}
}

// say runs a command and returns the answers: the untagged ones sorted, as their order is free (RFC 3501
// 7), then the tagged one.
func (p *player) say(t *testing.T, text string) (answers []string) {
	t.Helper()
	if _, err := io.WriteString(p, "t "+text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		line, err := p.response()
		if err != nil && ended(answers) {
			return answers
		}
		if err != nil {
			t.Fatalf("%q, then %v", answers, err)
		}
		if onlyOurs(line) {
			continue
		}
		line = normalize(line)
		if strings.HasPrefix(line, "t ") {
			slices.Sort(answers)
			return append(answers, line)
		}
		// Dovecot tells how many are recent later than that there are new ones, as it happens to write its index.
		if strings.HasSuffix(line, " RECENT\r\n") && !strings.HasPrefix(text, "SELECT ") && !strings.HasPrefix(text, "EXAMINE ") {
			continue
		}
		// A keyword that is only looked for or removed is made by Dovecot, not here.
		if !strings.HasPrefix(line, "* FLAGS (") && !strings.HasPrefix(line, "* OK [PERMANENTFLAGS ") {
			answers = append(answers, line)
		}
	}
}

// A generator makes commands.
type generator struct{ *rand.Rand }

func oneOf[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// some returns some of list, at least one, in any order.
func (g *generator) some(list ...string) string {
	g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return strings.Join(list[:1+g.IntN(min(3, len(list)))], " ")
}

func (g *generator) box() string {
	return oneOf(g, "INBOX", "inbox", "A", "A/B", "Entw&APw-rfe", `"b c"`, "Trash", "&", "nope")
}

func (g *generator) set() string {
	return oneOf(g, "1", "2", "3", "1:2", "2:3", "1:*", "*", "3:1", "1,3", "4:2,1", "*:2", "99", "0", "1:", "x", "1,2,3,4", "5:9")
}

func (g *generator) flags() string {
	return "(" + oneOf(g, "", g.some(`\Seen`, `\Flagged`, `\Answered`, `\Draft`, `\Deleted`, "$Forwarded", "key"), `\Deleted`, `\Seen`) + ")"
}

func (g *generator) append() string {
	m := oneOf(g, strangeMail...)
	date := oneOf(g, "", `"17-Jul-1996 02:44:25 -0700" `, `" 1-Jan-2001 00:00:00 +0000" `)
	return fmt.Sprintf("APPEND %s %s %s{%d+}\r\n%s", oneOf(g, "INBOX", "INBOX", g.box()), g.flags(), date, len(m), m)
}

func (g *generator) uid() string { return oneOf(g, "", "UID ") }

func (g *generator) command() string {
	switch g.IntN(24) {
	case 0:
		return oneOf(g, "SELECT ", "EXAMINE ") + g.box()
	case 1:
		return oneOf(g, "CREATE ", "DELETE ", "SUBSCRIBE ", "UNSUBSCRIBE ") + g.box()
	case 2:
		return "RENAME " + g.box() + " " + g.box()
	case 3:
		return oneOf(g, "LIST ", "LSUB ") + oneOf(g, `""`, "A", "A/") + " " + oneOf(g, "*", "%", `""`, "A*", "%/%", "inbox")
	case 4:
		return `LIST ` + oneOf(g, "", "(SUBSCRIBED) ", "(SUBSCRIBED RECURSIVEMATCH) ") + `"" ` + oneOf(g, "*", "%", "(A INBOX)") + " RETURN (" + g.some("CHILDREN", "SUBSCRIBED", "STATUS (MESSAGES UNSEEN)") + ")"
	case 5:
		return "STATUS " + g.box() + " (" + g.some("MESSAGES", "RECENT", "UIDNEXT", "UNSEEN", "SIZE") + ")"
	case 6:
		return g.append()
	case 7:
		return oneOf(g, "NOOP", "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "NAMESPACE", "NOOP", "EXPUNGE", "SELECT INBOX")
	case 8:
		return "UID EXPUNGE " + g.set()
	case 9, 10, 11:
		return g.uid() + "STORE " + g.set() + " " + oneOf(g, "+", "-", "") + "FLAGS" + oneOf(g, "", ".SILENT") + " " + g.flags()
	case 12:
		return g.uid() + oneOf(g, "COPY ", "MOVE ") + g.set() + " " + g.box()
	case 13, 14, 15:
		return g.uid() + "SEARCH " + oneOf(g, "", "RETURN ("+g.some("MIN", "MAX", "ALL", "COUNT", "SAVE")+") ") + g.keys(0)
	case 16:
		return g.uid() + "SORT (" + g.some("ARRIVAL", "REVERSE DATE", "FROM", "SUBJECT", "SIZE", "TO", "CC", "DISPLAYFROM") + ") UTF-8 " + g.keys(0)
	case 17:
		return g.uid() + "THREAD " + oneOf(g, "REFERENCES", "ORDEREDSUBJECT", "REFS") + " UTF-8 " + g.keys(0)
	default:
		return g.uid() + "FETCH " + g.set() + " (" + g.some(append([]string{
			"FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "PREVIEW", "RFC822.HEADER", "RFC822.TEXT",
		}, g.section(), g.section(), g.section())...) + ")"
	}
}

func (g *generator) section() string {
	part := oneOf(g, "", "1", "2", "1.1", "2.1", "3", "1.2", "2.1.1")
	text := oneOf(g, "", "HEADER", "TEXT", "MIME", "HEADER.FIELDS (SUBJECT From)", "HEADER.FIELDS.NOT (Subject received)")
	if part != "" && text != "" {
		part += "."
	}
	partial := oneOf(g, "", "", "<0.10>", "<5.1000>", "<20.3>", "<9999.1>")
	return oneOf(g, "BODY", "BODY.PEEK") + "[" + part + text + "]" + partial
}

func (g *generator) keys(depth int) string {
	if depth < 2 {
		switch g.IntN(6) {
		case 0:
			return "NOT " + g.keys(depth+1)
		case 1:
			return "OR " + g.keys(depth+1) + " " + g.keys(depth+1)
		case 2:
			return "(" + g.keys(depth+1) + " " + g.keys(depth+1) + ")"
		}
	}
	return oneOf(g, "ALL", "SEEN", "UNSEEN", "FLAGGED", "DELETED", "DRAFT", "ANSWERED", "RECENT", "NEW", "OLD", "KEYWORD key", "UNKEYWORD $Forwarded",
		"SUBJECT abc", `SUBJECT "caf`+"é"+`"`, "FROM example", "TO bob", "CC x", "BCC x", `HEADER Message-ID ""`, "HEADER X-None x", "BODY hello", "TEXT part", `BODY "gr`+"ü"+`n"`,
		"LARGER 100", "SMALLER 300", "BEFORE 1-Jan-2000", "SINCE 1-Jan-2000", "ON 17-Jul-1996", "SENTBEFORE 1-Jan-2010", "SENTON 5-May-2005", "SENTSINCE 1-Jan-2010",
		"UID "+g.set(), g.set(), "$")
}

package interop

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A turn is what one server is asked to do while the other rests.
type turn struct {
	server int
	ops    []op
}

// An op is something that a user does. It does nothing where the mailbox does not
// exist (any more), so that any part of a script is a script.
type op struct {
	do      func(*player, op) error
	name    string
	box, to string
	pick    uint64 // chooses messages, or the text of one
	flags   string
}

func (o op) String() string {
	return fmt.Sprintf("%s %q -> %q pick %d flags %q", o.name, o.box, o.to, o.pick, o.flags)
}

// The names are as on the wire: modified UTF-7. Some are odd, none is refused by any
// layout.
var boxNames = []string{
	"INBOX", "INBOX", "INBOX", "Archive", "Drafts", "Work", "Work/Projects", "Work/Projects/deep/deeper", "Entw&APw-rfe",
	"&ZeVnLIqe-", "&2D3eAA-/Smile", "A&-B", "with space", `quo"te`, `back\slash`, "INBOX/child", "INBOX/child/grand",
	"50%", "star*", "Sent", "Trash/Entw&APw-rfe", "trailing ", "#hash", "new child", "-dash", "UPPER", "upper",
}

var keywords = []string{"$Label1", "$Forwarded", "NonJunk", "Custom", "k+x", "a.b", "$MDNSent", "Junk"}

// actions are the operations with their weights.
var actions = []struct {
	weight int
	name   string
	do     func(*player, op) error
}{
	{8, "append", (*player).append},
	{2, "multiappend", (*player).multiAppend},
	{6, "deliver", (*player).deliver},
	{5, "add flags", (*player).addFlags},
	{3, "remove flags", (*player).removeFlags},
	{3, "set flags", (*player).setFlags},
	{4, "copy", (*player).copy},
	{4, "move", (*player).move},
	{4, "expunge", (*player).expunge},
	{2, "read", (*player).read},
	{5, "create", (*player).create},
	{1, "delete", (*player).delete},
	{2, "rename", (*player).rename},
	{2, "subscribe", (*player).subscribe},
	{1, "unsubscribe", (*player).unsubscribe},
	{1, "pop3 delete", (*player).popDelete},
}

// newScript returns turns of operations, the same for the same seed.
func newScript(seed uint64, first, turns, length int) []turn {
	r := rand.New(rand.NewPCG(seed, 0))
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	script := make([]turn, turns)
	for i := range script {
		script[i].server = (first + i) % 2
		for range length {
			n, kind := r.IntN(total), 0
			for ; n >= actions[kind].weight; kind++ {
				n -= actions[kind].weight
			}
			o := op{
				do: actions[kind].do, name: actions[kind].name,
				box: boxNames[r.IntN(len(boxNames))], to: boxNames[r.IntN(len(boxNames))],
				pick: r.Uint64N(1 << 32), flags: randomFlags(r),
			}
			if o.name != "create" && r.IntN(2) == 0 {
				o.box = "INBOX"
			}
			script[i].ops = append(script[i].ops, o)
		}
	}
	return script
}

func randomFlags(r *rand.Rand) string {
	all := slices.Concat([]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}, keywords)
	var chosen []string
	for range r.IntN(4) {
		if f := all[r.IntN(len(all))]; !slices.Contains(chosen, f) {
			chosen = append(chosen, f)
		}
	}
	return strings.Join(chosen, " ")
}

func describe(script []turn, servers [2]string) string {
	var b strings.Builder
	for _, t := range script {
		fmt.Fprintf(&b, "turn of %s:\n", servers[t.server])
		for _, o := range t.ops {
			fmt.Fprintf(&b, "  %v\n", o)
		}
	}
	return b.String()
}

// shrink returns a script as short as can be found in some tries that still fails.
func shrink(script []turn, tries int, fails func([]turn) bool) []turn {
	for size := longest(script); size >= 1 && tries > 0; {
		smaller := false
		for t := range script {
			for at := 0; at < len(script[t].ops) && tries > 0; {
				candidate := slices.Clone(script)
				candidate[t].ops = slices.Delete(slices.Clone(script[t].ops), at, min(at+size, len(script[t].ops)))
				tries--
				if fails(candidate) {
					script, smaller = candidate, true
				} else {
					at += size
				}
			}
		}
		if !smaller {
			size /= 2
		}
	}
	return script
}

func longest(script []turn) int {
	n := 0
	for _, t := range script {
		n = max(n, len(t.ops))
	}
	return n
}

// someText returns a message: one of several kinds.
func someText(pick uint64) string {
	r := rand.New(rand.NewPCG(pick, 1))
	kind := r.IntN(len(textKinds))
	head := fmt.Sprintf("Message-ID: <%d@example.org>\r\nDate: Mon, %d Jan 2024 10:00:00 +0%d00\r\n", pick, 1+r.IntN(28), r.IntN(10))
	return head + textKinds[kind](r)
}

func lines(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(70)) + "\r\n")
	}
	return b.String()
}

var textKinds = []func(*rand.Rand) string{
	func(r *rand.Rand) string {
		return "Subject: plain\r\nFrom: a@example.org\r\n\r\n" + lines(r, r.IntN(20))
	},
	func(r *rand.Rand) string {
		return "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n folded\r\nFrom: \"A, B\" <a@example.org>, =?iso-8859-1?q?J=F6rg?= <j@example.org>\r\n" +
			"To: group: x@example.org, y@example.org;, z@example.org\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <2@x>\r\n\r\n" + lines(r, 3)
	},
	func(r *rand.Rand) string { // 8 bit everywhere
		return "Subject: Grüße aus Köln\r\nFrom: Jörg <j@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nÄÖÜ\r\n" + lines(r, 2)
	},
	func(r *rand.Rand) string {
		return "Subject: mixed\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\n\r\n" + lines(r, 4) +
			"--b1\r\nContent-Type: application/octet-stream; name*=utf-8''%c3%bc.bin\r\nContent-Disposition: attachment; filename=\"u.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			strings.Repeat("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n", r.IntN(400)) + "--b1--\r\nepilogue\r\n"
	},
	func(r *rand.Rand) string {
		return "Subject: forwarded\r\nMIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: inner\r\nFrom: i@example.org\r\n\r\ninner text\r\n" +
			"--d\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner 2\r\nContent-Type: multipart/alternative; boundary=\"x y\"\r\n\r\n--x y\r\nContent-Type: text/html\r\n\r\n<p>\r\n--x y--\r\n--d--\r\n"
	},
	func(r *rand.Rand) string { return "Subject: no body\r\n\r\n" },
	func(r *rand.Rand) string { return "Subject: header only\r\n" },
	func(r *rand.Rand) string {
		return "\r\nbody after a short header\r\n.leading dot\r\nFrom here on\r\n" + lines(r, 2)
	},
	func(r *rand.Rand) string { return "Subject: no end of line\r\n\r\nlast line" },
	func(r *rand.Rand) string {
		return "Subject: long\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n" + lines(r, 800)
	},
	func(r *rand.Rand) string {
		return "Subject: broken MIME\r\nContent-Type: multipart/mixed; boundary=zzz\r\n\r\n--zzz\r\nContent-Type: text/plain\r\nunfinished header"
	},
	func(r *rand.Rand) string {
		return "subject:\t tabs \t\r\nFROM:<>\r\nTo: undisclosed-recipients:;\r\nCc: \"quo\\\"ted\" <q@x>, a@[1.2.3.4], (comment) c@x (more)\r\nBcc:\r\nDate: bad\r\n\r\n\r\n\r\n"
	},
}

// someDate returns an internal date.
func someDate(pick uint64) time.Time {
	r := rand.New(rand.NewPCG(pick, 2))
	zone := time.FixedZone("", (r.IntN(24)-11)*3600)
	return time.Unix(900000000+r.Int64N(800000000), 0).In(zone)
}

// some chooses messages of a mailbox, in the order of their uids.
func (b *modelBox) some(pick uint64) []*modelMail {
	r := rand.New(rand.NewPCG(pick, 3))
	if len(b.messages) == 0 {
		return nil
	}
	if r.IntN(8) == 0 {
		return slices.Clone(b.messages)
	}
	var all []*modelMail
	for range 1 + r.IntN(4) {
		if m := b.messages[r.IntN(len(b.messages))]; !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *modelMail) int { return cmp.Compare(a.uid, b.uid) })
	return all
}

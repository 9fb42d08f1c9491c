package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// threadMails are messages that answer each other at random, also in ways that make no sense.
func threadMails(r *rand.Rand, n int) (texts []string, messages []thread.Message) {
	ids := func(n int) (list []string) {
		for range n {
			list = append(list, fmt.Sprintf("id%d@example.org", r.IntN(40)))
		}
		return list
	}
	brackets := func(ids []string) string { return "<" + strings.Join(ids, "> <") + ">" }
	subjects := []string{"one", "Re: one", "[list] one", "two", "fwd: two", "[Fwd: two]", "three (fwd)", "", "Re:", "f\u00fcnf"}
	for i := range n {
		m := thread.Message{UID: uint32(i + 1), Subject: subjects[r.IntN(len(subjects))], Sent: time.Unix(int64(1e9+r.IntN(20)*3600), 0).UTC()}
		var text strings.Builder
		fmt.Fprintf(&text, "Subject: %s\r\nDate: %s\r\n", m.Subject, m.Sent.Format("Mon, 2 Jan 2006 15:04:05 -0700"))
		if r.IntN(10) > 0 {
			m.ID = ids(1)[0]
			fmt.Fprintf(&text, "Message-ID: %s\r\n", brackets([]string{m.ID}))
		}
		if r.IntN(3) == 0 {
			m.Parents = ids(1)
			fmt.Fprintf(&text, "In-Reply-To: your mail %s\r\n", brackets(m.Parents))
		}
		if r.IntN(2) == 0 {
			m.Parents = ids(1 + r.IntN(4))
			fmt.Fprintf(&text, "References: %s\r\n", brackets(m.Parents))
		}
		texts, messages = append(texts, text.String()+"\r\n"), append(messages, m)
	}
	return texts, messages
}

// Threads are those of the original.
func TestThreads(t *testing.T) {
	const mailboxes, size = 8, 45
	mb := harness.StartMailbox(t, harness.Original, harness.MailboxOptions{Users: 1, Location: "mdbox:~/mail"})
	c := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	defer c.Close()
	for seed := range uint64(mailboxes) {
		box := fmt.Sprint("box", seed)
		c.Must(t, "CREATE "+box)
		texts, messages := threadMails(rand.New(rand.NewPCG(seed, 1)), size)
		for _, text := range texts {
			c.Must(t, fmt.Sprintf("APPEND %s {%d+}\r\n%s", box, len(text), text))
		}
		c.Must(t, "SELECT "+box)
		for _, a := range []thread.Algorithm{thread.References, thread.Refs, thread.OrderedSubject} {
			untagged, _, err := c.IMAP("UID THREAD " + a.String() + " UTF-8 ALL")
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(untagged, func(line string) bool { return strings.HasPrefix(line, "* THREAD") })
			var got []byte
			for _, n := range thread.Build(a, messages) {
				got = n.Append(got, func(uid uint32) uint32 { return uid })
			}
			if diff := cmp.Diff(strings.TrimPrefix(untagged[max(i, 0)], "* THREAD "), string(got)); diff != "" {
				t.Errorf("seed %d, %s (-original +dovetail):\n%s", seed, a, diff)
			}
		}
		for uid := 1; uid <= size; uid += 15 {
			query := []string{"-c", mb.Config, "search", "-u", harness.User(0), "mailbox", box, "inthread", []string{"refs", "references"}[uid/15%2], "uid", fmt.Sprint(uid)}
			want := harness.Run(t, "", "doveadm", query...)
			var got bytes.Buffer
			ours := exec.Command(harness.Binary(t), append([]string{"doveadm"}, query...)...)
			ours.Stdout = &got
			if err := ours.Run(); err != nil || want == "" || got.String() != want {
				t.Errorf("seed %d: doveadm %q: %v\n%s", seed, query, err, cmp.Diff(want, got.String()))
			}
		}
	}
}

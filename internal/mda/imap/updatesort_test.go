package imap

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sortedView is what a client believes a sorted result to be, from what it is told alone.
type sortedView struct{ uids []string }

var (
	sortAll    = regexp.MustCompile(`\* ESEARCH \(TAG "ctx"\) UID ALL (\S+)`)
	sortUpdate = regexp.MustCompile(`\* ESEARCH \(TAG "ctx"\) UID (REMOVEFROM \(([^)]*)\))? ?(ADDTO \(([^)]*)\))?`)
)

func (v *sortedView) believe(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if m := sortAll.FindStringSubmatch(line); m != nil {
			v.uids = expandSet(m[1])
			continue
		}
		m := sortUpdate.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for p := range pairs(m[2]) {
			if p.position < 1 || p.position > len(v.uids) || v.uids[p.position-1] != p.uid {
				t.Fatalf("%q removes %s from %d of %v", line, p.uid, p.position, v.uids)
			}
			v.uids = slices.Delete(v.uids, p.position-1, p.position)
		}
		for p := range pairs(m[4]) {
			if p.position < 1 || p.position > len(v.uids)+1 {
				t.Fatalf("%q adds %s at %d of %v", line, p.uid, p.position, v.uids)
			}
			v.uids = slices.Insert(v.uids, p.position-1, p.uid)
		}
	}
}

type pair struct {
	position int
	uid      string
}

func pairs(text string) func(func(pair) bool) {
	return func(yield func(pair) bool) {
		for f := strings.Fields(text); len(f) >= 2; f = f[2:] {
			n, _ := strconv.Atoi(f[0])
			if !yield(pair{n, f[1]}) {
				return
			}
		}
	}
}

// expandSet returns the numbers of a set in its order.
func expandSet(set string) (out []string) {
	for _, r := range strings.Split(set, ",") {
		from, to, isRange := strings.Cut(r, ":")
		a, _ := strconv.Atoi(from)
		b := a
		if isRange {
			b, _ = strconv.Atoi(to)
		}
		for ; a <= b; a++ {
			out = append(out, strconv.Itoa(a))
		}
	}
	return out
}

// TestSortUpdates has one session change messages at random while another, which has asked for updates of a
// SORT, makes the result from the positions that it is told (RFC 5267 4.3). At the end of each step a new SORT must
// give the same.
func TestSortUpdates(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			srv := newTestServer(t, nil)
			watcher, other := newTalker(t, srv.dial(t)), newTalker(t, srv.dial(t))
			for range 5 {
				other.say(randomAppend(r))
			}
			other.say("SELECT INBOX")
			watcher.say("SELECT INBOX")
			var v sortedView
			v.believe(t, talk(t, watcher.c, watcher.r, "ctx UID SORT RETURN (UPDATE ALL) (SUBJECT REVERSE SIZE) UTF-8 UNFLAGGED\r\n", "ctx OK"))
			for range 40 {
				change := []string{randomAppend(r), "STORE 1:2 +FLAGS \\Flagged", "STORE 2,4 -FLAGS \\Flagged", "STORE 3 +FLAGS \\Deleted", "EXPUNGE", "NOOP"}
				other.say(change[r.IntN(len(change))])
				v.believe(t, watcher.say([]string{"NOOP", "FETCH 1 UID", "CHECK"}[r.IntN(3)]))
				if r.IntN(3) == 0 {
					v.believe(t, watcher.say("NOOP"))
					var now sortedView
					text := strings.ReplaceAll(watcher.say("UID SORT RETURN (ALL) (SUBJECT REVERSE SIZE) UTF-8 UNFLAGGED"), `"t"`, `"ctx"`)
					now.believe(t, text)
					if !slices.Equal(now.uids, v.uids) {
						t.Fatalf("SORT gives %v, the updates %v", now.uids, v.uids)
					}
				}
			}
		})
	}
}

func randomAppend(r *rand.Rand) string {
	m := fmt.Sprintf("Subject: %c\r\n\r\n%s\r\n", 'a'+rune(r.IntN(4)), strings.Repeat("x", r.IntN(3)))
	return fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(m), m)
}

// A talker is a session whose answers are read up to the tagged one.
type talker struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func newTalker(t *testing.T, c net.Conn) *talker {
	tk := &talker{t, c, bufio.NewReader(c)}
	talk(t, c, tk.r, "", "* PREAUTH")
	return tk
}

func (tk *talker) say(line string) string {
	tk.t.Helper()
	return talk(tk.t, tk.c, tk.r, "t "+line+"\r\n", "t ")
}

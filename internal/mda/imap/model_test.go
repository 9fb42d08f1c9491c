package imap

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// modelClient is a client that believes what it is told: its messages are built
// from EXISTS, EXPUNGE and FETCH alone.
type modelClient struct {
	net.Conn
	r    *bufio.Reader
	tag  int
	msgs []modelMessage
	// During FETCH, STORE and SEARCH no EXPUNGE may come.
	noExpunge bool
}

type modelMessage struct {
	uid   string
	flags string // as told, sorted, without \Recent
}

func newModelClient(conn net.Conn) *modelClient {
	return &modelClient{Conn: conn, r: bufio.NewReader(conn)}
}

var (
	fetchReply = regexp.MustCompile(`^\* (\d+) FETCH \((.*)$`)
	uidItem    = regexp.MustCompile(`UID (\d+)`)
	flagsItem  = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
)

// cmd sends a command and believes the answers.
func (c *modelClient) cmd(line string) error {
	c.tag++
	tag := fmt.Sprintf("t%d", c.tag)
	c.SetDeadline(time.Now().Add(60 * time.Second))
	if _, err := io.WriteString(c, tag+" "+line+"\r\n"); err != nil {
		return err
	}
	verb, _, _ := strings.Cut(line, " ")
	c.noExpunge = verb == "FETCH" || verb == "STORE" || verb == "SEARCH"
	for {
		reply, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		reply = strings.TrimRight(reply, "\r\n")
		if rest, ok := strings.CutPrefix(reply, tag+" "); ok {
			if !strings.HasPrefix(rest, "OK") && !strings.Contains(rest, "EXPUNGEISSUED") && !strings.Contains(rest, "Invalid messageset") {
				return fmt.Errorf("%s: %s", line, rest)
			}
			return nil
		}
		if err := c.believe(reply); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
}

func (c *modelClient) believe(reply string) error {
	if m := fetchReply.FindStringSubmatch(reply); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n < 1 || n > len(c.msgs) {
			return fmt.Errorf("%q of %d messages", reply, len(c.msgs))
		}
		msg := &c.msgs[n-1]
		if uid := uidItem.FindStringSubmatch(m[2]); uid != nil {
			if msg.uid != "" && msg.uid != uid[1] {
				return fmt.Errorf("%q: the uid was %s", reply, msg.uid)
			}
			msg.uid = uid[1]
		}
		if flags := flagsItem.FindStringSubmatch(m[2]); flags != nil {
			words := strings.Fields(strings.ReplaceAll(flags[1], `\Recent`, ""))
			slices.Sort(words)
			msg.flags = strings.Join(words, " ")
		}
		return nil
	}
	fields := strings.Fields(reply)
	if len(fields) != 3 {
		return nil
	}
	n, _ := strconv.Atoi(fields[1])
	switch fields[2] {
	case "EXISTS":
		if n < len(c.msgs) {
			return fmt.Errorf("%q of %d messages", reply, len(c.msgs))
		}
		c.msgs = append(c.msgs, make([]modelMessage, n-len(c.msgs))...)
	case "EXPUNGE":
		if n < 1 || n > len(c.msgs) {
			return fmt.Errorf("%q of %d messages", reply, len(c.msgs))
		}
		if c.noExpunge {
			return fmt.Errorf("%q where it is forbidden", reply)
		}
		c.msgs = slices.Delete(c.msgs, n-1, n)
	}
	return nil
}

// act does something at random.
func (c *modelClient) act(r *rand.Rand) error {
	if len(c.msgs) == 0 || r.IntN(8) == 0 {
		return c.cmd("APPEND INBOX {4+}\r\nabc")
	}
	n := 1 + r.IntN(len(c.msgs))
	set := fmt.Sprintf("%d:%d", n, min(n+r.IntN(3), len(c.msgs)))
	flags := []string{`\Seen`, `\Flagged`, `\Answered kw1`, `kw2`, `\Deleted`, `\Draft`}
	flag := flags[r.IntN(len(flags))]
	switch r.IntN(12) {
	case 0, 1, 2:
		return c.cmd("STORE " + set + " +FLAGS (" + flag + ")")
	case 3:
		return c.cmd("STORE " + set + " -FLAGS (" + flag + ")")
	case 4:
		return c.cmd("STORE " + set + " FLAGS (" + flag + ")")
	case 5:
		return c.cmd("UID STORE " + cmpOr(c.msgs[n-1].uid, "1") + " +FLAGS (" + flag + ")")
	case 6:
		return c.cmd("EXPUNGE")
	case 7:
		return c.cmd("FETCH " + set + " (FLAGS BODY[])")
	case 8:
		return c.cmd("FETCH 1:* (UID)")
	case 9:
		return c.cmd("COPY " + set + " INBOX")
	case 10:
		return c.cmd("SEARCH SEEN")
	}
	return c.cmd("NOOP")
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// TestManySessions has sessions change one mailbox at once. At the end each must
// know exactly what there is, from what it was told.
func TestManySessions(t *testing.T) {
	const sessions, steps = 5, 150
	srv := newTestServer(t, nil)
	clients := make([]*modelClient, sessions)
	for i := range clients {
		clients[i] = newModelClient(srv.dial(t))
		if err := clients[i].cmd("SELECT INBOX"); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for step := range steps {
				if err := c.act(r); err != nil {
					t.Errorf("client %d, step %d: %v", i, step, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.Log(srv.logged())
		return
	}
	truth := newModelClient(srv.dial(t))
	for _, line := range []string{"SELECT INBOX", "FETCH 1:* (UID FLAGS)"} {
		if err := truth.cmd(line); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range clients {
		if err := c.cmd("NOOP"); err != nil {
			t.Fatal(err)
		}
		if len(c.msgs) != len(truth.msgs) {
			t.Errorf("client %d knows of %d messages of %d", i, len(c.msgs), len(truth.msgs))
			continue
		}
		// Flags it was never told of (nor asked for) it cannot know; a message
		// seen for the first time is fetched.
		known := slices.Clone(c.msgs)
		if err := c.cmd("FETCH 1:* (UID FLAGS)"); err != nil {
			t.Fatal(err)
		}
		for k, m := range truth.msgs {
			if known[k].uid != "" && known[k].uid != m.uid || known[k].flags != "" && known[k].flags != m.flags {
				t.Errorf("client %d: message %d is %v, told %v", i, k+1, m, known[k])
			}
			if c.msgs[k] != m {
				t.Errorf("client %d: message %d is %v, fetched %v", i, k+1, m, c.msgs[k])
			}
		}
	}
}

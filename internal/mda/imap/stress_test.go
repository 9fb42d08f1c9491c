package imap

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var stressTime = flag.Duration("stress", 8*time.Second, "how long the clients of TestStress work")

const (
	stressClients = 50
	stressBoxes   = 5
)

// A stressClient is a client that believes what it is told and does anything at random. What it has enabled
// decides how it is told of expunges.
type stressClient struct {
	modelClient
	rand     *rand.Rand
	number   int
	box      string // selected, or empty
	readOnly bool
	uids     bool // VANISHED is told: uids must be known
	uidOnly  bool
	rows     int      // FETCH replies of the last command
	said     []string // the last lines of both sides
}

// TestStress has 50 clients change 5 mailboxes with every command at once. Each checks its view against what it is
// told while it works, and in the end against what there is. For minutes, and with the race detector:
//
//	CGO_ENABLED=1 go test -race -run TestStress -stress 5m -timeout 10m
func TestStress(t *testing.T) {
	srv := newTestServer(t, nil)
	clients := make([]*stressClient, stressClients)
	for i := range clients {
		clients[i] = &stressClient{modelClient: *newModelClient(srv.dial(t)), rand: rand.New(rand.NewPCG(uint64(i), 2)), number: i}
	}
	for i := range stressBoxes {
		if err := clients[0].do("CREATE " + stressBox(i)); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(*stressTime)
	var wg sync.WaitGroup
	var mu sync.Mutex
	steps := 0
	for i, c := range clients {
		wg.Go(func() {
			n := 0
			defer func() { mu.Lock(); steps += n; mu.Unlock() }()
			err := c.begin()
			for ; err == nil && time.Now().Before(end) && !t.Failed(); n++ {
				err = c.step()
			}
			if err != nil {
				t.Errorf("client %d (%s), step %d: %v\n%s", i, c.box, n, err, strings.Join(c.said, "\n"))
			}
		})
	}
	wg.Wait()
	t.Logf("%d commands", steps)
	if t.Failed() {
		t.Log(srv.logged())
		return
	}
	checkStress(t, srv, clients)
	if text := srv.logged(); strings.Contains(text, "Error: ") || strings.Contains(text, "panic") {
		t.Error(text)
	}
}

func stressBox(i int) string { return "box" + strconv.Itoa(i) }

// checkStress compares what each client knows with what there is.
func checkStress(t *testing.T, srv *testServer, clients []*stressClient) {
	truth := map[string][]modelMessage{}
	for i := range stressBoxes {
		c := &stressClient{modelClient: *newModelClient(srv.dial(t))}
		for _, line := range []string{"EXAMINE " + stressBox(i), "FETCH 1:* (UID FLAGS)"} {
			if err := c.do(line); err != nil && len(c.msgs) > 0 {
				t.Fatal(err)
			}
		}
		truth[stressBox(i)] = c.msgs
	}
	for i, c := range clients {
		if c.box == "" {
			continue
		}
		if err := c.do("NOOP"); err != nil {
			t.Errorf("client %d: %v", i, err)
			continue
		}
		want := truth[c.box]
		if len(c.msgs) != len(want) {
			t.Errorf("client %d knows of %d messages in %s, there are %d", i, len(c.msgs), c.box, len(want))
			continue
		}
		for k, m := range c.msgs {
			if m.uid != "" && m.uid != want[k].uid || m.flags != "" && m.flags != want[k].flags {
				t.Errorf("client %d: message %d of %s is %v, it was told %v", i, k+1, c.box, want[k], m)
			}
		}
	}
}

// begin makes a client what it is, and selects a mailbox.
func (c *stressClient) begin() error {
	enable := []string{"", "CONDSTORE", "QRESYNC", "UIDONLY", "IMAP4rev2"}[c.number%5]
	c.uidOnly = enable == "UIDONLY"
	c.uids = c.uidOnly || enable == "QRESYNC"
	if enable != "" {
		if err := c.do("ENABLE " + enable); err != nil {
			return err
		}
	}
	return c.choose()
}

// choose selects a mailbox.
func (c *stressClient) choose() error {
	c.box = stressBox(c.rand.IntN(stressBoxes))
	c.readOnly = c.rand.IntN(8) == 0
	verb := "SELECT "
	if c.readOnly {
		verb = "EXAMINE "
	}
	return c.do(verb + c.box)
}

// do runs a command and learns the uids of new messages, if the client must know them.
func (c *stressClient) do(line string) error {
	if err := c.run(line); err != nil {
		return err
	}
	for range 5 {
		if !c.uids || c.box == "" || !slices.ContainsFunc(c.msgs, func(m modelMessage) bool { return m.uid == "" }) {
			return nil
		}
		if err := c.run("UID FETCH 1:* (UID FLAGS)"); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command and believes the answers.
func (c *stressClient) run(line string) error {
	c.tag++
	tag := fmt.Sprintf("t%d", c.tag)
	c.SetDeadline(time.Now().Add(5 * time.Minute))
	if _, err := io.WriteString(c, tag+" "+line+"\r\n"); err != nil {
		return err
	}
	c.note("C: " + line)
	verb, _, _ := strings.Cut(line, " ")
	c.noExpunge = slices.Contains([]string{"FETCH", "STORE", "SEARCH", "SORT", "THREAD", "ESEARCH"}, verb)
	c.rows = 0
	for {
		reply, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
		reply = strings.TrimRight(reply, "\r\n")
		c.note("S: " + reply)
		switch rest, tagged := strings.CutPrefix(reply, tag+" "); {
		case reply == "+ idling":
			time.Sleep(time.Duration(c.rand.IntN(20)) * time.Millisecond) // something may happen meanwhile
			if _, err := io.WriteString(c, "DONE\r\n"); err != nil {
				return err
			}
		case !tagged:
			if err := c.hear(reply); err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
		case strings.HasPrefix(rest, "OK"), strings.Contains(rest, "[EXPUNGEISSUED]"), strings.Contains(rest, "Mailbox is read-only"):
			return nil
		default:
			return fmt.Errorf("%s: %s", line, rest)
		}
	}
}

func (c *stressClient) note(line string) {
	if len(c.said) >= 100 {
		c.said = slices.Delete(c.said, 0, 50)
	}
	c.said = append(c.said, line)
}

var (
	uidFetchReply = regexp.MustCompile(`^\* (\d+) UIDFETCH \((.*)$`)
	vanishedReply = regexp.MustCompile(`^\* VANISHED ([0-9,:]+)$`)
	searchReply   = regexp.MustCompile(`^\* (?:SEARCH|SORT)((?: \d+)*)$`)
)

// hear believes a reply, or says why that cannot be.
func (c *stressClient) hear(reply string) error {
	if strings.HasPrefix(reply, "* BYE") {
		return fmt.Errorf("%q", reply)
	}
	if strings.HasPrefix(reply, "* OK [CLOSED]") {
		c.msgs = nil
		return nil
	}
	if m := vanishedReply.FindStringSubmatch(reply); m != nil {
		return c.vanished(reply, m[1])
	}
	if m := uidFetchReply.FindStringSubmatch(reply); m != nil {
		return c.uidFetched(reply, m[1], m[2])
	}
	if m := fetchReply.FindStringSubmatch(reply); m != nil {
		c.rows++
		if c.uidOnly {
			return fmt.Errorf("%q to a client with UIDONLY", reply)
		}
	}
	if m := searchReply.FindStringSubmatch(reply); m != nil && c.noExpunge {
		for _, n := range strings.Fields(m[1]) {
			if i, _ := strconv.Atoi(n); i < 1 || i > len(c.msgs) {
				return fmt.Errorf("%q of %d messages", reply, len(c.msgs))
			}
		}
	}
	if strings.HasSuffix(reply, " EXPUNGE") && c.uids {
		return fmt.Errorf("%q to a client that wants VANISHED", reply)
	}
	return c.believe(reply)
}

func (c *stressClient) vanished(reply, set string) error {
	if c.noExpunge {
		return fmt.Errorf("%q where it is forbidden", reply)
	}
	for _, uid := range expandSet(set) {
		i := slices.IndexFunc(c.msgs, func(m modelMessage) bool { return m.uid == uid })
		if i < 0 { // one of those that EXISTS has just told of
			i = c.unknown(uid)
		}
		if i < 0 {
			continue // one that it was never told of, which VANISHED may name (RFC 7162 3.2.10)
		}
		c.msgs = slices.Delete(c.msgs, i, i+1)
	}
	return nil
}

// unknown returns the place of a message whose uid was not told yet, among those whose was.
func (c *stressClient) unknown(uid string) int {
	at := -1
	for i, m := range c.msgs {
		switch {
		case m.uid == "" && at < 0:
			at = i
		case m.uid == "":
		case number(m.uid) > number(uid):
			return at
		default:
			at = -1
		}
	}
	return at
}

func number(uid string) int {
	n, _ := strconv.Atoi(uid)
	return n
}

func (c *stressClient) uidFetched(reply, uid, items string) error {
	c.rows++
	i := slices.IndexFunc(c.msgs, func(m modelMessage) bool { return m.uid == uid })
	if i < 0 {
		if i = slices.IndexFunc(c.msgs, func(m modelMessage) bool { return m.uid == "" }); i < 0 {
			return fmt.Errorf("%q of %v", reply, c.msgs)
		}
		c.msgs = slices.Delete(c.msgs, i, i+1)
		i = 0
		for i < len(c.msgs) && c.msgs[i].uid != "" && number(c.msgs[i].uid) < number(uid) {
			i++
		}
		c.msgs = slices.Insert(c.msgs, i, modelMessage{})
	}
	return c.believe(fmt.Sprintf("* %d FETCH (UID %s %s", i+1, uid, items))
}

package interop

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// commonMessages are in INBOX before a load begins, and stay.
const commonMessages = 6

// A together is a load of clients of both servers on the mail of one user.
type together struct {
	*pair
	*record
	user  int
	kills bool // connections may be lost
	once  bool // the original brings no message back to a mailbox
	stop  chan struct{}
	wg    sync.WaitGroup

	mu        sync.Mutex
	believers map[*believer]bool
	errs      []error
}

func newTogether(t *testing.T, p *pair, user int) *together {
	l := &together{pair: p, record: newRecord(), user: user, stop: make(chan struct{}), believers: make(map[*believer]bool)}
	// In a Maildir a message that comes back has the file name that it had. Two Dovecots alone confuse
	// it with what one of them still knows under that name: it gets another uid, or stays where
	// it was moved away from. What this server brings back stays whole beside them.
	l.once = strings.HasPrefix(p.servers[1].Location, "maildir")
	b, err := newBeliever(p.servers[user%2], user)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	b.Must(t, "CREATE Work/shared")
	for _, name := range sharedBoxes { // two Dovecots that create one at once lose mail
		b.Must(t, "SELECT "+name+" (CONDSTORE)")
	}
	for n := range uint32(commonMessages) {
		text := numbered(fmt.Sprint("common-", n))
		b.Must(t, fmt.Sprintf("APPEND INBOX (\\Seen) {%d+}\r\n%s", len(text), text))
		if err := l.put(&copied{place: place{"INBOX", n + 1}, id: fmt.Sprint("common-", n), flags: flagSet(`\Seen`)}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *together) stopped() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// keep notes a session whose picture is checked at the end.
func (l *together) keep(b *believer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.believers[b] = true
}

func wait() { time.Sleep(20 * time.Millisecond) }

// begin starts one part of the load.
func (l *together) begin(work func() error) {
	l.wg.Go(func() {
		if err := work(); err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, err)
			l.mu.Unlock()
		}
	})
}

// start starts the load.
func (l *together) start(seed uint64) {
	for server := range l.servers {
		for n := range 3 {
			w := &worker{
				together: l, name: fmt.Sprintf("%c%d-%d", serverNames()[server][0], n, l.user), server: server,
				r: rand.New(rand.NewPCG(seed, uint64(10*server+n))), common: make(map[uint32]bool),
			}
			l.begin(w.work)
		}
		l.begin(func() error { return l.deliver(server) })
		l.begin(func() error { return l.pop(server) })
	}
}

// end ends the load after what is under way, and checks what has become of it.
func (l *together) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	for _, err := range l.errs {
		t.Error(err)
	}
	l.check(t)
	for b := range l.believers {
		b.Close()
	}
	l.believers = make(map[*believer]bool)
}

// check compares what both servers show, with each other, the record, and what the sessions were told.
func (l *together) check(t *testing.T) {
	t.Helper()
	var views [2]*view
	for i, mb := range l.servers {
		v, err := look(mb, l.user)
		if err != nil {
			t.Errorf("looking at it through %s: %v", serverNames()[i], err)
			return
		}
		if err := l.compare(v); err != nil {
			t.Errorf("%s: %v", serverNames()[i], err)
		}
		views[i] = v
	}
	if diff := cmp.Diff(views[1], views[0]); diff != "" {
		t.Errorf("the servers differ (-original +dovetail):\n%s", diff)
	}
	for b := range l.believers {
		if b.box == "" {
			continue
		}
		if err := b.enter(b.box); err != nil {
			if !l.kills {
				t.Error(err)
			}
			continue
		}
		if err := b.agrees(views[0].Boxes[b.box]); err != nil {
			t.Error(err)
		}
	}
}

// deliver sends messages by LMTP.
func (l *together) deliver(server int) error {
	for n := 0; !l.stopped(); {
		c, err := harness.Dial(l.servers[server].LMTP)
		if err == nil {
			_, err = c.Ask("LHLO client.example.org")
		}
		for range 20 {
			if err != nil || l.stopped() {
				break
			}
			n++
			err = l.deliverOne(c, fmt.Sprintf("lmtp%d-%d-%d", server, l.user, n))
		}
		if c != nil {
			c.Close()
		}
		if err != nil && !l.forgiven(server, err) {
			return fmt.Errorf("LMTP of %s: %w", serverNames()[server], err)
		}
		wait()
	}
	return nil
}

func (l *together) deliverOne(c *harness.Client, id string) error {
	key := [2]string{"INBOX", id}
	for _, step := range []struct{ command, want string }{
		{"MAIL FROM:<sender@example.org>", "250"}, {"RCPT TO:<" + harness.User(l.user) + ">", "250"}, {"DATA", "354"}, {numbered(id) + ".", "250"},
	} {
		if step.want == "250" && strings.HasSuffix(step.command, "\n.") {
			l.note(func() { l.perhaps[key]++ })
		}
		reply, err := c.Ask(step.command)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(reply, step.want) {
			return harness.Refusal(fmt.Sprintf("%.30q is answered with %s", step.command, reply))
		}
	}
	l.note(func() { l.perhaps[key]--; l.loose[key]++; l.acks++ })
	return nil
}

// pop reads mail by POP3.
func (l *together) pop(server int) error {
	for n := 0; !l.stopped(); n++ {
		if err := l.popOnce(server, n); err != nil && !l.forgiven(server, err) {
			return fmt.Errorf("POP3 of %s: %w", serverNames()[server], err)
		}
		wait()
	}
	return nil
}

func (l *together) popOnce(server, n int) error {
	c, err := pop3(l.servers[server], l.user)
	if err != nil {
		if l.kills {
			return nil
		}
		return err
	}
	defer c.Close()
	reply, err := c.Ask(fmt.Sprintf("RETR %d", 1+n%commonMessages))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(reply, "+OK") {
		return harness.Refusal("RETR is answered with " + reply)
	}
	var text strings.Builder
	for {
		line, err := c.Line()
		if err != nil {
			return err
		}
		if line == "." {
			break
		}
		text.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
	}
	if want := numbered(fmt.Sprint("common-", n%commonMessages)); text.String() != want {
		return harness.Refusal(fmt.Sprintf("RETR gives %.200q", text.String()))
	}
	_, err = c.Ask("QUIT")
	return err
}

// Clients of both servers work on the same mailboxes at once. DOVETAIL_LOAD says for how many seconds.
func TestTogether(t *testing.T) {
	seconds := environment(t, "DOVETAIL_LOAD", 2)
	seed := uint64(environment(t, "DOVETAIL_SEED", 1))
	for _, f := range loadFormats("DOVETAIL_LOAD") {
		t.Run(f.name, func(t *testing.T) {
			t.Logf("seed %d", seed)
			p := newPair(t, harness.MailboxOptions{Location: f.location, Extra: pairSettings})
			l := newTogether(t, p, 0)
			l.start(seed)
			for range seconds {
				time.Sleep(time.Second)
				if strings.HasPrefix(f.location, "mdbox") {
					p.servers[1].Doveadm(t, l.user, "purge")
				}
			}
			l.end(t)
			if err := p.complaints(); err != nil {
				t.Error(err)
			}
			t.Logf("%d things were acknowledged", l.acks)
		})
	}
}

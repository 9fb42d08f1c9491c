package attack

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// full is for attacks of the size that the requirements name.
var full = flag.Bool("full", false, "attack as hard as the requirements say; takes minutes")

func TestMain(m *testing.M) {
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// patience bounds what must happen.
const patience = 5 * time.Minute

// size is the size of an attack.
func size(usual, whole int) int {
	if *full {
		return whole
	}
	return usual
}

// A target is the server that is attacked.
type target struct {
	*harness.Transport
	addr string // of the service that takes all clients at once
	mta  int    // process id
}

// start starts a server one of whose services takes 12,000 clients at once. Addresses from 127.0.0.0/24 are trusted; others are under
// the limits that are usual.
func start(t *testing.T, main string) *target {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{
		Main:   "mynetworks = 127.0.0.0/24\nsmtpd_relay_restrictions = reject_unauth_destination\n" + main,
		Master: addr + " inet n - n - 12000 smtpd\n",
	})
	harness.WaitTCP(t, tr.Process, addr)
	s := &target{tr, addr, tr.Child(t, "postfix/mta")}
	if served := s.letter(t); served == 0 {
		t.Fatal("nobody is attacking, and no mail is taken")
	}
	return s
}

// letter sends one message and returns how long that took; 0: it was not taken.
func (s *target) letter(t *testing.T) time.Duration {
	began := time.Now()
	c, err := harness.Dial(s.addr)
	if err != nil {
		t.Errorf("a good client: %v", err)
		return 0
	}
	defer c.Close()
	for _, step := range [][2]string{
		{"EHLO good.example", "250"}, {"MAIL FROM:<good@origin.example>", "250"}, {"RCPT TO:<" + harness.User(0) + ">", "250"},
		{"DATA", "354"}, {"Subject: in time\r\n\r\nhello\r\n.", "250"}, {"QUIT", "221"},
	} {
		if reply, err := c.Ask(step[0]); err != nil || !strings.HasPrefix(reply, step[1]) {
			t.Errorf("a good client says %q and gets %q, %v", step[0], reply, err)
			return 0
		}
	}
	return time.Since(began)
}

// under plays an attack while a good client sends one letter after another, at least one. Memory may grow by so many MB, and
// by so many KB for each of the attackers. In the usual size, too, these bounds are less than what would be kept if all that attackers send were.
func (s *target) under(t *testing.T, attackers, perAttacker, most int, attack func(t *testing.T)) {
	t.Helper()
	before := s.memory(t, "VmRSS")
	// The peak is counted from now on.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.mta), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	over, done := make(chan struct{}), make(chan struct{})
	var worst, sum time.Duration
	letters := 0
	go func() {
		defer close(done)
		for {
			took := s.letter(t)
			if took == 0 {
				return
			}
			letters, sum, worst = letters+1, sum+took, max(worst, took)
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	began := time.Now()
	attack(t)
	took := time.Since(began)
	close(over)
	<-done
	if letters == 0 {
		t.Fatal("the good client was not served")
	}
	peak := s.memory(t, "VmHWM")
	t.Logf("%d attackers, %.1f s: memory %d MB, at most %d MB; %d letters of the good client, %v each, at most %v",
		attackers, took.Seconds(), before>>10, peak>>10, letters, (sum / time.Duration(letters)).Round(time.Millisecond), worst.Round(time.Millisecond))
	if grown, limit := peak-before, most<<10+attackers*perAttacker; grown > limit {
		t.Errorf("memory has grown by %d KB, more than %d KB", grown, limit)
	}
}

// memory is a field of the server's status, in KB.
func (s *target) memory(t *testing.T, field string) int {
	t.Helper()
	text, _, _ := strings.Cut(harness.Status(s.mta, field), " ")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s of the server's process: %q", field, text)
	}
	return n
}

// crowd has n attackers do something, so many of them at a time.
func crowd(n, together int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range min(n, together) {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// few is how many attackers work at once where each has a lot to do.
var few = 2 * runtime.NumCPU()

// replies reads replies of one line.
type replies struct{ *bufio.Reader }

func newReplies(r io.Reader) replies { return replies{bufio.NewReader(r)} }

// next is the next reply; empty: there is none.
func (r replies) next() string {
	line, err := r.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSpace(line)
}

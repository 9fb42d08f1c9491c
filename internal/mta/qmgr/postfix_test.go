package qmgr_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	status := m.Run()
	harness.CleanUp()
	os.Exit(status)
}

// gated is a way to an address on which nothing is heard until it is opened.
func gated(t *testing.T, addr string) (port string, open func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	gate := make(chan struct{})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				<-gate
				next, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer next.Close()
				go io.Copy(next, conn) //nolint:errcheck // until either ends
				io.Copy(conn, next)    //nolint:errcheck // as above
			}()
		}
	}()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port), func() { close(gate) }
}

// perDelivery is the limit of recipients of one delivery.
const perDelivery = 10

// deliveries submits messages with so many recipients for one destination, while the first
// delivery is kept waiting, and returns what the next hop took: of which message, to whom.
func deliveries(t *testing.T, p harness.Program, sizes []int) (taken []harness.Letter) {
	t.Helper()
	next := harness.StartNextHop(t, &harness.NextHop{})
	port, open := gated(t, next.Addr)
	tr := harness.StartTransport(t, p, harness.TransportOptions{
		Relay: "smtp:[127.0.0.1]:" + port,
		Main:  fmt.Sprintf("smtp_destination_concurrency_limit = 1\nsmtp_destination_recipient_limit = %d\n", perDelivery),
	})
	c := harness.Connect(t, tr.SMTP)
	defer c.Close()
	c.Expect(t, "EHLO client.example.org", "250")
	want := 0
	for n, size := range sizes {
		c.Expect(t, fmt.Sprintf("MAIL FROM:<m%d@origin.test>", n), "250")
		for i := range size {
			// Domains and users come in no order.
			c.Expect(t, fmt.Sprintf("RCPT TO:<user%d@Host%d.test>", i*7%size, i%3), "250")
		}
		c.Expect(t, "DATA", "354")
		c.Expect(t, "Subject: test\r\n\r\ntext\r\n.", "250")
		want += (size + perDelivery - 1) / perDelivery
		if n == 0 {
			harness.Eventually(t, "the first message to be active", func() bool { return strings.Contains(tr.Postqueue(t, "-p"), "* ") })
		}
	}
	harness.Eventually(t, "all messages to be active", func() bool {
		return strings.Count(tr.Postqueue(t, "-j"), `"queue_name": "active"`) == len(sizes)
	})
	open()
	harness.Eventually(t, "all mail to arrive", func() bool { return len(next.Letters()) >= want })
	tr.Empty(t)
	return next.Letters()
}

// ends returns after how many deliveries each message was done.
func ends(letters []harness.Letter, messages int) []int {
	ends := make([]int, messages)
	for at, l := range letters {
		var n int
		fmt.Sscanf(l.From, "MAIL FROM:<m%d@", &n) //nolint:errcheck // a wrong number shows
		ends[n] = at + 1
	}
	return ends
}

// TestSmallMailLikePostfix has the same queue on both programs: a message for hundreds, for which
// others of all sizes wait. Postfix lets small mail go before the large one when that has earned it,
// in an order of its own; here each has its turn. The first of the messages that take
// one delivery may have to wait for a delivery that the large one began when its turn was;
// the second and all others are done no later than as many are with Postfix.
func TestSmallMailLikePostfix(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	sizes := []int{400}
	for range 16 {
		if size := 1 + r.IntN(perDelivery); r.IntN(4) > 0 {
			sizes = append(sizes, size)
		} else {
			sizes = append(sizes, 5*size+perDelivery)
		}
	}
	small := func(p harness.Program) []int {
		var done []int
		for n, end := range ends(deliveries(t, p, sizes), len(sizes)) {
			if sizes[n] <= perDelivery {
				done = append(done, end)
			}
		}
		slices.Sort(done)
		return done
	}
	postfix, ours := small(harness.Original), small(harness.Dovetail)
	for n := range ours {
		if ours[n] > max(postfix[n], 3) {
			t.Errorf("%d small messages were done after %d deliveries, with Postfix after %d", n+1, ours[n], postfix[n])
		}
	}
	if t.Failed() {
		t.Logf("all messages %d\nPostfix %d\nDovetail %d", sizes, postfix, ours)
	}
}

// TestRecipientOrderLikePostfix shows that next hops see recipients in the same
// order, and divided alike among deliveries.
func TestRecipientOrderLikePostfix(t *testing.T) {
	var got [2][][]string
	for i, p := range []harness.Program{harness.Original, harness.Dovetail} {
		for _, l := range deliveries(t, p, []int{37}) {
			got[i] = append(got[i], l.To)
		}
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
	}
}

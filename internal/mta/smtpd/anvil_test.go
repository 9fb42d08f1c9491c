package smtpd

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// newTestAnvil returns counters and a clock that stands still, and what was logged.
func newTestAnvil(unit time.Duration) (a *Anvil, at func(seconds int) time.Time, logged func() string) {
	var lines []string
	a = NewAnvil(unit, maillog.NewFunc(func(_ maillog.Level, text string) { lines = append(lines, text) }))
	start := time.Date(2026, 11, 5, 10, 0, 0, 900_000_000, time.Local)
	at = func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	return a, at, func() string { text := strings.Join(lines, "\n"); lines = nil; return text }
}

func clientKey(addr string) anvilKey { return anvilKey{"smtp", netip.MustParsePrefix(addr)} }

// All rates of a client begin anew together, in the second after the unit of time; one that is away for as long is forgotten.
func TestAnvilUnit(t *testing.T) {
	a, at, _ := newTestAnvil(60 * time.Second)
	key := clientKey("192.0.2.1/32")
	var rates []int
	step := func(seconds int) {
		_, rate := a.connect(key, at(seconds))
		rates = append(rates, rate, a.add(key, anvilMessages, at(seconds)))
	}
	step(0)
	step(60) // the 61st second is still in the unit, as the client is connected
	step(61)
	for range 3 {
		a.disconnect(key, at(61))
	}
	step(120) // nobody was connected, but not for a whole unit
	a.disconnect(key, at(120))
	step(180) // forgotten
	want := []int{1, 1, 2, 2, 1, 1, 2, 2, 1, 1}
	if !reflect.DeepEqual(rates, want) {
		t.Errorf("rates %v, want %v", rates, want)
	}
}

// Forgotten clients take no room.
func TestAnvilSweep(t *testing.T) {
	a, at, _ := newTestAnvil(60 * time.Second)
	for i := range 200 {
		key := clientKey(fmt.Sprintf("192.0.2.%d/32", i))
		a.connect(key, at(0))
		a.disconnect(key, at(0))
	}
	a.connect(clientKey("198.51.100.1/32"), at(61))
	if len(a.clients) != 1 {
		t.Errorf("%d clients are remembered, want 1", len(a.clients))
	}
}

// The lines are Postfix's, with the date as ctime(3) has it. A report begins anew, and so does a reload.
func TestAnvilReport(t *testing.T) {
	a, at, logged := newTestAnvil(60 * time.Second)
	one, network := clientKey("192.0.2.1/32"), clientKey("2001:db8::/64")
	a.connect(one, at(0))
	a.connect(one, at(1))
	a.connect(network, at(2))
	for kind := anvilMessages; kind < anvilKinds; kind++ {
		a.add(network, kind, at(3))
	}
	a.Report()
	const want = `statistics: max connection rate 2/60s for (smtp:192.0.2.1) at Nov  5 10:00:01
statistics: max connection count 2 for (smtp:192.0.2.1) at Nov  5 10:00:01
statistics: max message rate 1/60s for (smtp:2001:db8::/64) at Nov  5 10:00:03
statistics: max recipient rate 1/60s for (smtp:2001:db8::/64) at Nov  5 10:00:03
statistics: max newtls rate 1/60s for (smtp:2001:db8::/64) at Nov  5 10:00:03
statistics: max auth rate 1/60s for (smtp:2001:db8::/64) at Nov  5 10:00:03
statistics: max cache size 2 at Nov  5 10:00:02`
	if got := logged(); got != want {
		t.Errorf("logged\n%s\nwant\n%s", got, want)
	}
	a.connect(one, at(4))
	a.Configure(2*time.Second, time.Minute)
	if got := logged(); !strings.HasPrefix(got, "statistics: max connection rate 3/60s ") {
		t.Errorf("logged at a reload: %s", got)
	}
	if _, rate := a.connect(one, at(5)); rate != 1 {
		t.Errorf("rate %d with the new unit of time, want 1", rate)
	}
	a.Report()
	if got := logged(); !strings.Contains(got, "max connection rate 1/2s for") {
		t.Errorf("logged with the new unit: %s", got)
	}
}

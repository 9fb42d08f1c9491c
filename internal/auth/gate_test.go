package auth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
)

// Lines take turns, and those who have gone cost nobody one.
func TestGateTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		ctx, cancel := context.WithCancel(context.Background())
		bad, good := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
		if err := g.enter(ctx, bad); err != nil {
			t.Fatal(err)
		}
		var order []string
		wait := func(ctx context.Context, net netip.Prefix, name string, err error) {
			go func() {
				if got := g.enter(ctx, net); !errors.Is(got, err) {
					t.Errorf("%s: %v, want %v", name, got, err)
				}
				if err != nil {
					return
				}
				order = append(order, name)
				g.leave()
			}()
			synctest.Wait()
		}
		wait(ctx, bad, "gone", context.Canceled)
		for _, name := range []string{"bad 1", "bad 2", "bad 3"} {
			wait(context.Background(), bad, name, nil)
		}
		wait(context.Background(), good, "good 1", nil)
		wait(context.Background(), good, "good 2", nil)
		cancel()
		synctest.Wait()
		g.leave()
		synctest.Wait()
		want := []string{"bad 1", "good 1", "bad 2", "good 2", "bad 3"}
		if !slices.Equal(order, want) {
			t.Errorf("%q, want %q", order, want)
		}
		if g.inside != 0 || len(g.lines) != 0 || g.turns.Len() != 0 {
			t.Errorf("left behind: %d inside, %d lines", g.inside, len(g.lines))
		}
	})
}

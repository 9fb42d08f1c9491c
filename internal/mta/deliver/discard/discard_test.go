package discard

import (
	"context"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

func TestDiscard(t *testing.T) {
	for nexthop, want := range map[string]string{
		"":                      "2.0.0 mail discarded",
		"silently":              "2.0.0 silently",
		"2.7.1 no spam, please": "2.7.1 no spam, please",
		"5.7.1 not a success":   "2.0.0 5.7.1 not a success",
	} {
		r := &deliver.Request{Nexthop: nexthop, Recipients: make([]deliver.Recipient, 2)}
		n := 0
		Agent{}.Deliver(context.Background(), r, func(i int, s deliver.Status) {
			n++
			if got := s.Enhanced.String() + " " + s.Text; got != want || s.Action != deliver.Final || s.Relay != "none" {
				t.Errorf("%q: %+v", nexthop, s)
			}
		})
		if n != 2 {
			t.Errorf("%q: %d reports", nexthop, n)
		}
	}
}

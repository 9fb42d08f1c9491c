package refuse

import (
	"context"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

func TestRefuse(t *testing.T) {
	for _, test := range []struct {
		agent         Agent
		action        deliver.Action
		nexthop, want string
	}{
		{Bounce, deliver.Bounced, "5.1.1 no such user", "5.1.1 no such user"},
		{Bounce, deliver.Bounced, "no such user", "5.0.0 no such user"},
		{Bounce, deliver.Bounced, "4.2.0 later", "5.2.0 later"},
		{Retry, deliver.Deferred, "4.3.2 deferred transport", "4.3.2 deferred transport"},
		{Retry, deliver.Deferred, "later", "4.0.0 later"},
		{Retry, deliver.Deferred, "5.1.6 moved", "4.1.6 moved"},
	} {
		n := 0
		test.agent.Deliver(context.Background(), &deliver.Request{Nexthop: test.nexthop, Recipients: make([]deliver.Recipient, 2)}, func(i int, s deliver.Status) {
			n++
			if got := s.Enhanced.String() + " " + s.Text; got != test.want || s.Action != test.action || s.Relay != "none" || s.Dead {
				t.Errorf("%q: %+v", test.nexthop, s)
			}
		})
		if n != 2 {
			t.Errorf("%q: %d reports", test.nexthop, n)
		}
	}
}

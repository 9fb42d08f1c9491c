// Package statusfilter changes what delivery agents say of a delivery, as
// smtp_delivery_status_filter and its kin ask. As with Postfix, error(8), retry and discard(8) have none.
//
// The key that a table is asked for is the enhanced status code and the text
// ("4.4.1 connect to ..."); what it has takes their place. Failures may become permanent or temporary,
// success remains success: anything else in a table is warned about and ignored.
package statusfilter

import (
	"context"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Settings are the parameters of all agents. By default they are default_delivery_status_filter.
type Settings struct {
	SMTP    string `set:"smtp_delivery_status_filter" doc:"table that replaces status code and text of deliveries"`
	LMTP    string `set:"lmtp_delivery_status_filter" doc:"the same of the LMTP client"`
	Local   string `set:"local_delivery_status_filter" doc:"the same of local(8)"`
	Virtual string `set:"virtual_delivery_status_filter" doc:"the same of virtual(8)"`
	Pipe    string `set:"pipe_delivery_status_filter" doc:"the same of pipe(8)"`
}

var _ = postfix.Register("all", Settings{})

// of returns the value for a command of master.cf.
func (s *Settings) of(command string) string {
	return map[string]string{"smtp": s.SMTP, "lmtp": s.LMTP, "local": s.Local, "virtual": s.Virtual, "pipe": s.Pipe}[command]
}

// An agent is one whose statuses are changed. It is a [deliver.Agent].
type agent struct {
	deliver.Agent
	param string
	maps  resolve.Maps
	log   *maillog.Logger
}

// New returns the agent of an entry of master.cf, by its command and with its settings, with the filter that is
// configured for it; without one the agent itself.
func New(a deliver.Agent, command string, main *postfix.Main, tables resolve.Opener, log *maillog.Logger) (deliver.Agent, error) {
	set, err := postfix.Get[Settings](main)
	if err != nil {
		return nil, err
	}
	param := command + "_delivery_status_filter"
	maps, err := tables.OpenMaps(param, set.of(command))
	if err != nil {
		return nil, fmt.Errorf("parameter %s: %w", param, err)
	}
	if maps.Empty() {
		return a, nil
	}
	return &agent{a, param, maps, log}, nil
}

// Deliver implements [deliver.Agent].
func (a *agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	request := *r
	if r.Result != nil {
		request.Result = func(i int, address, original string, s *deliver.Status) {
			status := *s
			a.filter(ctx, &status)
			r.Result(i, address, original, &status)
		}
	}
	a.Agent.Deliver(ctx, &request, func(i int, s deliver.Status) {
		if !s.Logged { // else that was its results
			a.filter(ctx, &s)
		}
		report(i, s)
	})
}

// filter changes a status. A table that cannot be asked changes nothing.
func (a *agent) filter(ctx context.Context, s *deliver.Status) {
	result, found, err := a.maps.Lookup(ctx, s.Enhanced.String()+" "+s.Text)
	if err != nil || !found {
		return
	}
	dsn, n := smtp.ParseEnhanced(result)
	failure := s.Enhanced[0] == 4 || s.Enhanced[0] == 5
	if n == 0 || failure != (dsn[0] == 4 || dsn[0] == 5) {
		a.log.Warningf("%s: bad status code: %s", a.param, result)
		return
	}
	for n < len(result) && result[n] == ' ' {
		n++
	}
	s.Enhanced, s.Text = dsn, result[n:]
	switch dsn[0] {
	case 4:
		s.Action = deliver.Deferred
	case 5:
		s.Action, s.Dead = deliver.Bounced, false
	}
}

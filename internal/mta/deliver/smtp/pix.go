package smtp

import (
	"context"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// pix are work-arounds for defects of PIX firewalls, which give themselves away by greetings of stars.
type pix struct {
	noESMTP bool // disable_esmtp: what the firewall makes of EHLO is no EHLO
	delay   bool // delay_dotcrlf: the final dot must come in a packet of its own
}

// pixFor returns the work-arounds for a server that has greeted.
func (t *attempt) pixFor(ctx context.Context, s *session, greeting *reply) pix {
	if strings.Trim(string(greeting.text), "20 *\t\n") != "" {
		return pix{}
	}
	words := t.agent.set.PIX
	if s.server.ip.IsValid() && !t.agent.pixMaps.Empty() {
		if found, ok, err := t.agent.pixMaps.Lookup(ctx, s.server.ip.String()); ok && err == nil {
			words = found
		}
	}
	if words == "" {
		return pix{}
	}
	var p pix
	var names []string
	for _, word := range postfix.SplitList(words) {
		switch strings.ToLower(word) {
		case "disable_esmtp":
			p.noESMTP = true
		case "delay_dotcrlf":
			p.delay = time.Since(t.req.Message.Arrival) >= t.agent.set.PIXThreshold
		}
	}
	if p.noESMTP {
		names = append(names, "disable_esmtp")
	}
	if p.delay {
		names = append(names, "delay_dotcrlf")
	}
	t.agent.log.Infof("%s: enabling PIX workarounds: %s for %s", s.message, strings.Join(names, " "), s.server.relay)
	return p
}

// pauseBeforeDot waits as delay_dotcrlf asks, or until the context ends.
func (x *transaction) pauseBeforeDot() {
	timer := time.NewTimer(x.agent.set.PIXDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.ctx.Done():
	}
}

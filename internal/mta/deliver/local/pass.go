package local

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// maxPasses bounds how often mail is passed on by transports that pass it to each other.
const maxPasses = 20

// pass has another transport deliver to an address: "transport:nexthop".
func (d *delivery) pass(s *state, service string) bool {
	transport, nexthop, _ := strings.Cut(service, ":")
	if nexthop == "" {
		nexthop = d.req.Nexthop
	}
	if d.req.Passes == maxPasses {
		d.warnf("%s: <%s> is passed on for ever: see mailbox_transport and fallback_transport", d.req.Message.ID, smtp.QuoteAddress(s.address))
		return d.defers(s, "4.3.5", "mail system configuration error")
	}
	d.Log.Infof("%s: passing <%s> to transport=%s", d.req.Message.ID, smtp.QuoteAddress(s.address), transport)
	agent := d.Agent.Agent(transport)
	if agent == nil {
		d.warnf("connect to transport private/%s: No such file or directory", transport)
		st := d.status(deliver.Deferred, "4.3.0", "mail transport unavailable")
		st.Relay = "none"
		return d.part(s, st)
	}
	r := *d.req
	r.Transport, r.Nexthop = transport, nexthop
	r.Recipients = []deliver.Recipient{{Address: s.address, Original: s.original, DSNOrcpt: s.orcpt, Notify: s.notify}}
	r.Passes++
	r.Result = nil
	st := d.status(deliver.Deferred, "4.3.0", "unknown mail transport error")
	st.Relay = "none"
	agent.Deliver(d.ctx, &r, func(_ int, got deliver.Status) { st = got })
	st.Via = transport
	st.Dead = false // this destination is a mailbox
	return d.fails(s, st)
}

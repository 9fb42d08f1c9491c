package local

import (
	"context"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A delivery is that to one recipient, with all it expands to. Its steps report
// whether something is to be tried again.
type delivery struct {
	*Agent
	ctx     context.Context
	req     *deliver.Request
	i       int
	content *asuser.Message
	loops   map[string]bool // Delivered-To headers
	seen    seen

	forwards []*forward
	first    *part // not logged yet: it may stay the only one
	parts    int
	again    *deliver.Status // of the first part that is deferred
	failed   []part          // the sender is to be told
	reached  []part          // likewise, of success at an address that is not the recipient's
	told     bool            // an owner- alias has been told of another
	expanded deliver.Action  // what to report of an alias, if asked
}

// A part is what became of one address of an expansion.
type part struct {
	address, original, orcpt string
	notify                   uint8
	status                   deliver.Status
}

func (d *delivery) warnf(format string, args ...any) { d.Log.Warningf(format, args...) }

// run makes the delivery.
func (d *delivery) run() deliver.Status {
	r, m := &d.req.Recipients[d.i], d.req.Message
	s := state{
		address: r.Address, original: r.Original, orcpt: r.DSNOrcpt, notify: r.Notify,
		sender: m.Sender, envid: m.EnvID, ret: m.Ret,
	}
	again := d.recipient(s)
	if !again {
		again = d.finishForwards(&s)
	}
	return d.final(again)
}

// final is what is reported of the recipient as a whole.
func (d *delivery) final(again bool) deliver.Status {
	r := &d.req.Recipients[d.i]
	if d.parts == 1 && !d.told && d.expanded == deliver.Deferred && len(d.reached) == 0 && strings.EqualFold(d.first.address, r.Address) {
		st := d.first.status
		if d.first.address != r.Address { // an alias of the same name, spelled in other case
			d.flush()
			st.Logged = true
		}
		return st
	}
	d.flush()
	switch {
	case again && d.again != nil:
		st := *d.again
		st.Logged = true
		return st
	case again:
		return deliver.Status{Action: deliver.Deferred, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "unknown mail transport error", Relay: "none"}
	}
	if err := d.notify(); err != nil {
		d.warnf("%s: %v", d.req.Message.ID, err)
		return d.status(deliver.Deferred, "4.3.0", "bounce service failure")
	}
	st := d.status(deliver.Final, "2.0.0", "alias expanded")
	switch {
	case len(d.reached) > 0:
		st.Action = deliver.Delivered // and reported
	case d.expanded != deliver.Deferred:
		st.Action = d.expanded
	}
	// Only the first level of an expansion says something by itself.
	st.Logged = d.parts > 0
	if !st.Logged {
		st.Text = "discarded"
	}
	return st
}

// notify tells the sender about the parts that failed, and of success at other addresses.
func (d *delivery) notify() error {
	if len(d.failed) > 0 {
		m, all := d.outcomes(d.failed)
		if err := d.Notifier.Failure(d.ctx, m, all); err != nil {
			return err
		}
	}
	if len(d.reached) > 0 {
		m, all := d.outcomes(d.reached)
		for i := range d.reached {
			m.Outcomes[i].Text = d.reached[i].status.Reason()
		}
		return d.Notifier.Success(d.ctx, m, all)
	}
	return nil
}

// succeeds notes success that the sender asked for, if it is at an address that luser_relay
// has put in place of the recipient's. It reports whether it is.
func (d *delivery) succeeds(s *state, st deliver.Status) bool {
	if strings.EqualFold(s.address, d.req.Recipients[d.i].Address) {
		return false
	}
	d.reached = append(d.reached, part{s.address, s.original, s.orcpt, s.notify, st})
	return true
}

// expands notes what is to be reported of an expansion.
func (d *delivery) expands(s *state, action deliver.Action) {
	if s.notify&queue.NotifySuccess != 0 && !d.succeeds(s, d.status(action, "2.0.0", "alias expanded")) {
		d.expanded = action
	}
}

// outcomes is the message as if parts were its recipients.
func (d *delivery) outcomes(parts []part) (partial *queue.Message, all []int) {
	m := *d.req.Message
	m.Sender = d.req.ReturnTo
	m.Recipients = make([]queue.Recipient, len(parts))
	m.Outcomes = make([]queue.Outcome, len(parts))
	all = make([]int, len(parts))
	for i := range parts {
		p := &parts[i]
		m.Recipients[i] = queue.Recipient{Address: p.address, Original: p.original, DSNOrcpt: p.orcpt, Notify: p.notify}
		m.Outcomes[i] = queue.Outcome{
			Action: p.status.Action.String(), DSN: p.status.Enhanced.String(), Text: p.status.Text,
			RemoteMTA: p.status.RemoteMTA, RemoteCode: p.status.RemoteCode,
		}
		all[i] = i
	}
	return &m, all
}

// status makes a status with Postfix's code and text.
func (d *delivery) status(action deliver.Action, dsn, text string) deliver.Status {
	code, _ := smtp.ParseEnhanced(dsn)
	return deliver.Status{Action: action, Enhanced: code, Text: text, Relay: d.Service}
}

// part takes what became of one address. It reports whether that is to be tried again.
func (d *delivery) part(s *state, st deliver.Status) (again bool) {
	again = st.Action == deliver.Deferred || st.Action == deliver.Bounced && d.core.SoftBounce
	if st.Action > deliver.Delivered && st.Action != deliver.Bounced && s.notify&queue.NotifySuccess != 0 && !d.req.Verify {
		d.succeeds(s, st)
	}
	p := part{s.address, s.original, s.orcpt, s.notify, st}
	d.parts++
	if d.parts == 1 {
		d.first = &p
	} else {
		d.flush()
		d.log(&p)
	}
	if again && d.again == nil {
		d.again = &p.status
	}
	return again
}

// flush logs the first part, which was held back.
func (d *delivery) flush() {
	if d.first != nil {
		d.log(d.first)
		d.first = nil
	}
}

func (d *delivery) log(p *part) {
	if d.req.Result != nil {
		d.req.Result(d.i, p.address, p.original, &p.status)
	}
}

// sent is for what was delivered, or would be.
func (d *delivery) sent(s *state, text string) bool {
	return d.part(s, d.status(deliver.Final, "2.0.0", text))
}

// defers is for what is to be tried again.
func (d *delivery) defers(s *state, dsn, text string) bool {
	return d.part(s, d.status(deliver.Deferred, dsn, text))
}

// bounces is for what is returned.
func (d *delivery) bounces(s *state, dsn, text string) bool {
	return d.fails(s, d.status(deliver.Bounced, dsn, text))
}

// fails is for a status that is one of the above.
func (d *delivery) fails(s *state, st deliver.Status) bool {
	if st.Action == deliver.Bounced && !d.core.SoftBounce {
		d.failed = append(d.failed, part{s.address, s.original, s.orcpt, s.notify, st})
	}
	return d.part(s, st)
}

// unavailable is for a failure that is not the recipient's: of the privileged
// process, or of somebody it asks.
func (d *delivery) unavailable(s *state, err error) bool {
	d.warnf("%s: local delivery: %v", d.req.Message.ID, err)
	st := d.status(deliver.Deferred, "4.3.0", "unknown mail transport error")
	st.Relay = "none"
	return d.part(s, st)
}

// failure makes a status of what the privileged process said.
func (d *delivery) failure(r *asuser.Reply, text string) deliver.Status {
	action := deliver.Bounced
	if strings.HasPrefix(r.DSN, "4") {
		action = deliver.Deferred
	}
	st := d.status(action, r.DSN, text)
	if r.Detail != "" {
		st.RemoteCode = "x-unix; " + r.Detail
	}
	return st
}

// ask asks the privileged process, and logs what it warns of.
func (d *delivery) ask(req *asuser.Request) (*asuser.Reply, error) {
	req.Service = d.Service
	f, err := d.content.For(req)
	if err != nil {
		return nil, err
	}
	r, opened, err := d.Asuser.Do(d.ctx, req, f)
	if err != nil {
		return nil, err
	}
	if opened != nil {
		opened.Close()
	}
	d.warnings(r)
	return r, nil
}

func (d *delivery) warnings(r *asuser.Reply) {
	if r.Fatal != "" {
		d.Log.Fatalf("%s", r.Fatal)
	}
	for _, w := range r.Warnings {
		d.warnf("%s", w)
	}
}

// failsToOwner is for failures of what a list contains: its owner- alias is told at
// once, the sender in the end if there is none.
func (d *delivery) failsToOwner(s *state, st deliver.Status) bool {
	if st.Action != deliver.Bounced || d.core.SoftBounce || !d.core.OwnerRequestSpecial {
		return d.fails(s, st)
	}
	local, _ := smtp.SplitAddress(s.address)
	names := []string{local}
	if bare, ext := d.Resolver.SplitExtension(local); ext != "" {
		names = append(names, bare)
	}
	for _, name := range names {
		value, found, err := d.lookupAlias(d.ctx, "owner-"+name)
		if err != nil {
			return d.defers(s, "4.3.0", "alias database unavailable")
		}
		if !found {
			continue
		}
		owner := d.ownerAddress("owner-"+name, value)
		m, all := d.outcomes([]part{{s.address, s.original, s.orcpt, s.notify, st}})
		m.EnvID, m.Ret = s.envid, s.ret
		if err := d.Notifier.FailureTo(d.ctx, m, all, owner); err != nil {
			d.warnf("%s: %v", d.req.Message.ID, err)
			return d.defers(s, "4.3.0", "bounce service failure")
		}
		d.told = true
		return d.part(s, st)
	}
	return d.fails(s, st)
}

// ownerAddress is the sender of mail to a list with an owner- alias.
func (d *delivery) ownerAddress(alias, value string) string {
	if !d.set.ExpandOwner {
		value = alias
	}
	return d.Resolver.Rewrite(d.ctx, "local", value)
}

func key(parts ...any) string { return strings.TrimSuffix(fmt.Sprintln(parts...), "\n") }

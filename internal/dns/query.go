package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/miekg/dns"
)

// udpSize is what we take in a UDP datagram: small enough to pass unfragmented
// (DNS flag day 2020).
const udpSize = 1232

// A reply is the part of a name server's reply that is kept.
type reply struct {
	records []dns.RR
	secure  bool
	ttl     time.Duration
	err     error // ErrNXDomain or ErrNoData, or nil
}

// query returns the answer to one question, from the cache or a name server.
func (r *Resolver) query(ctx context.Context, fqdn string, qtype uint16) (*reply, *Error) {
	key := question{fqdn, qtype}
	rep := r.cache.get(key)
	if rep == nil {
		msg, err := r.ask(ctx, fqdn, qtype)
		if err != nil {
			reason := ErrTryAgain
			if errors.Is(err, ErrMalformed) {
				reason = ErrMalformed
			}
			return nil, &Error{Err: reason, More: err}
		}
		rep = newReply(msg)
		r.cache.put(key, rep)
	}
	if rep.err != nil {
		return nil, &Error{Err: rep.err, TTL: rep.ttl}
	}
	return rep, nil
}

// ask asks the name servers in turn, as often as resolv.conf says.
func (r *Resolver) ask(ctx context.Context, fqdn string, qtype uint16) (*dns.Msg, error) {
	conf, err := r.conf.get()
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetQuestion(fqdn, qtype)
	m.SetEdns0(udpSize, false)
	m.AuthenticatedData = true // RFC 6840 5.7: tell us whether you validated it
	timeout := conf.timeout
	if r.timeout > 0 {
		timeout = r.timeout
	}
	var errs []error
	for range conf.attempts {
		for _, server := range conf.servers {
			msg, err := exchange(ctx, m, server, timeout)
			if err == nil {
				return msg, nil
			}
			errs = append(errs, fmt.Errorf("name server %s: %w", server, err))
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	return nil, errors.Join(errs...)
}

// exchange asks one name server, over TCP what does not fit a datagram. Only
// answers that say whether the name exists are no errors.
func exchange(ctx context.Context, m *dns.Msg, server string, timeout time.Duration) (*dns.Msg, error) {
	m = m.Copy()
	m.Id = dns.Id()
	c := dns.Client{Timeout: timeout, UDPSize: udpSize}
	msg, _, err := c.ExchangeContext(ctx, m, server)
	if err == nil && msg.Truncated || errors.Is(err, dns.ErrBuf) {
		c.Net = "tcp"
		msg, _, err = c.ExchangeContext(ctx, m, server)
	}
	var refused *net.OpError
	var bad *dns.Error
	switch {
	case errors.As(err, &refused):
		return nil, refused.Err
	case errors.As(err, &bad):
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case err != nil:
		return nil, err
	case msg.Truncated:
		return nil, errTruncated
	case msg.Rcode == dns.RcodeFormatError && m.IsEdns0() != nil:
		m.Extra = nil // a server from before EDNS
		return exchange(ctx, m, server, timeout)
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return nil, errors.New(dns.RcodeToString[msg.Rcode])
	case len(msg.Question) != 1 || msg.Question[0] != m.Question[0]:
		return nil, errOtherQuestion
	}
	return msg, nil
}

var (
	errTruncated     = errors.New("the answer is truncated, over TCP too")
	errOtherQuestion = errors.New("the answer is one to another question")
)

// Bounds of how long answers are kept.
const (
	maxTTL         = time.Hour
	maxNegativeTTL = 5 * time.Minute
)

// newReply takes from a message what is of interest.
func newReply(msg *dns.Msg) *reply {
	rep := &reply{records: msg.Answer, secure: msg.AuthenticatedData, ttl: maxTTL}
	for _, rr := range msg.Answer {
		rep.ttl = min(rep.ttl, time.Duration(rr.Header().Ttl)*time.Second)
	}
	qtype := msg.Question[0].Qtype
	found := false
	for _, rr := range msg.Answer {
		found = found || rr.Header().Rrtype == qtype || rr.Header().Rrtype == dns.TypeCNAME
	}
	switch {
	case msg.Rcode == dns.RcodeNameError:
		rep.err = ErrNXDomain
	case !found:
		rep.err = ErrNoData
	default:
		return rep
	}
	rep.ttl = min(rep.ttl, maxNegativeTTL)
	soa := false
	for _, rr := range msg.Ns { // RFC 2308 section 5
		if s, ok := rr.(*dns.SOA); ok {
			soa = true
			rep.ttl = min(rep.ttl, time.Duration(min(s.Hdr.Ttl, s.Minttl))*time.Second)
		}
	}
	if !soa {
		rep.ttl = 0
	}
	return rep
}

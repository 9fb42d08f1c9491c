package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/dns"
)

// A dnssecProbe is what dnssec_probe asks for, once, after an answer that was not validated: an
// administrator who asks for DANE should know that his name server does not make it possible.
type dnssecProbe struct {
	kind, name string // empty for no probe
	once       sync.Once
}

// newDNSSECProbe reads TYPE:NAME.
func newDNSSECProbe(value string) (*dnssecProbe, error) {
	if value == "" {
		return &dnssecProbe{}, nil
	}
	kind, name, ok := strings.Cut(value, ":")
	if !ok || name == "" || !dns.KnownType(kind) {
		return nil, fmt.Errorf("malformed dnssec_probe value: %s format is qtype:qname", value)
	}
	return &dnssecProbe{kind: kind, name: name}, nil
}

// probeDNSSEC warns where answers of the name server are not validated.
func (a *Agent) probeDNSSEC(ctx context.Context) {
	p := a.probe
	if p.name == "" {
		return
	}
	p.once.Do(func() {
		secure, err := a.resolver.Validated(ctx, p.name, p.kind)
		if secure {
			return
		}
		a.log.Warningf("DNSSEC validation may be unavailable")
		spec := p.kind + ":" + p.name
		var failed *dns.Error
		if dns.Temporary(err) && errors.As(err, &failed) {
			a.log.Warningf("reason: dnssec_probe '%s' received no response: %s", spec, nameServiceError(failed.Name, failed.Type, failed.Err))
			return
		}
		a.log.Warningf("reason: dnssec_probe '%s' received a response that is not DNSSEC validated", spec)
	})
}

package cleanup

import (
	"context"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// envelope brings the addresses of env into standard form and expands its
// recipients.
func (m *Message) envelope(ctx context.Context, env *queue.Envelope) error {
	if len(env.Recipients) == 0 {
		return fmt.Errorf("%s: %w", m.id, errNoRecipients)
	}
	c := m.c
	if env.Arrival.IsZero() {
		env.Arrival = m.arrival
	}
	if env.RewriteContext == "" {
		env.RewriteContext = "remote"
		if m.origin.Local {
			env.RewriteContext = "local"
		}
	}
	env.Sender = c.res.Rewrite(ctx, "local", env.Sender)
	if len(env.Sender) == len(c.daemon) && strings.EqualFold(env.Sender, c.daemon) {
		env.Sender = ""
	}
	for i := range env.Recipients {
		r := &env.Recipients[i]
		if r.Original == "" {
			r.Original = r.Address
		}
		r.Address = c.res.Rewrite(ctx, "local", r.Address)
	}
	if env.Redirect != "" {
		env.Recipients = []queue.Recipient{{Address: c.res.Rewrite(ctx, "local", env.Redirect), Original: env.Redirect}}
	}
	if c.res.AliasMaps().Empty() || m.origin.Unmapped {
		m.dedupe(env)
		return nil
	}
	return m.expand(ctx, env)
}

// dedupe drops recipients that are there twice. The few of most messages are
// compared with each other.
func (m *Message) dedupe(env *queue.Envelope) {
	if len(env.Recipients) < 2 {
		return
	}
	set := recipientSet{original: m.c.set.OriginalRecipient}
	kept := env.Recipients[:0]
	for _, r := range env.Recipients {
		if set.add(&r) {
			kept = append(kept, r)
		}
	}
	env.Recipients = kept
}

// recipientSet knows which recipients a message has. With
// enable_original_recipient the same address counts once for each address it
// comes from.
type recipientSet struct {
	original bool
	only     queue.Recipient // the one so far: most messages have no other
	keys     map[string]struct{}
}

// add reports false for a recipient that is there already.
func (s *recipientSet) add(r *queue.Recipient) bool {
	if s.keys == nil {
		if s.only == (queue.Recipient{}) {
			s.only = *r
			return true
		}
		s.keys = map[string]struct{}{s.key(&s.only): {}}
	}
	key := s.key(r)
	if _, dup := s.keys[key]; dup {
		return false
	}
	s.keys[key] = struct{}{}
	return true
}

func (s *recipientSet) key(r *queue.Recipient) string {
	key := strings.ToLower(r.Address)
	if s.original {
		key = fmt.Sprint(key, "\x00", r.Original, "\x00", r.DSNOrcpt, "\x00", r.Notify)
	}
	return key
}

// expand replaces each recipient by what virtual_alias_maps makes of it.
func (m *Message) expand(ctx context.Context, env *queue.Envelope) error {
	set := recipientSet{original: m.c.set.OriginalRecipient}
	out := make([]queue.Recipient, 0, len(env.Recipients))
	for _, r := range env.Recipients {
		addrs, err := m.aliases(ctx, r.Address)
		if err != nil {
			m.c.log.Warningf("%s: %v -- message not accepted, try again later", m.id, err)
			return replyAlias
		}
		for _, addr := range addrs {
			one := r
			one.Address = addr
			if set.add(&one) {
				out = append(out, one)
			}
		}
	}
	env.Recipients = out
	return nil
}

// aliases expands one address with virtual_alias_maps, again and again until
// nothing is found. An address that maps to itself is final.
func (m *Message) aliases(ctx context.Context, addr string) ([]string, error) {
	maps := m.c.res.AliasMaps()
	type item struct {
		addr  string
		depth int
	}
	pending := []item{{addr, 0}}
	var done []string
	for len(pending) > 0 {
		it := pending[0]
		pending = pending[1:]
		value, ext, found, err := m.c.res.Find(ctx, maps, it.addr, resolve.FindDefault)
		if err != nil {
			return nil, fmt.Errorf("virtual_alias_maps map lookup problem for %s", addr)
		}
		if !found {
			done = append(done, it.addr)
			continue
		}
		if it.depth >= m.c.set.AliasRecursionLimit {
			return nil, fmt.Errorf("unreasonable virtual_alias_maps map nesting for %s", addr)
		}
		results, err := m.aliasResults(ctx, value, ext, it.addr)
		if err != nil {
			return nil, err
		}
		next := pending[:len(pending):len(pending)]
		pending = nil
		for _, result := range results {
			if strings.EqualFold(result, it.addr) {
				done = append(done, result)
			} else {
				pending = append(pending, item{result, it.depth + 1})
			}
		}
		pending = append(pending, next...)
		if len(done)+len(pending) > m.c.set.AliasExpansionLimit {
			return nil, fmt.Errorf("unreasonable virtual_alias_maps map expansion size for %s", addr)
		}
	}
	return done, nil
}

// aliasResults splits what a table said about addr: addresses separated by commas.
func (m *Message) aliasResults(ctx context.Context, value, ext, addr string) ([]string, error) {
	if !m.c.res.Propagates("virtual") {
		ext = ""
	}
	var results []string
	for text := range splitAddresses(value) {
		if strings.HasPrefix(text, "@") && strings.IndexByte(text, ':') < 0 {
			// "@domain" keeps the user of the address looked up.
			local, _ := smtp.SplitAddress(addr)
			results = append(results, local+text)
			continue
		}
		path, err := smtp.ParsePath([]byte(text))
		if err != nil || path.Address == "" {
			m.c.log.Warningf("%s: virtual_alias_maps: bad address %q in the result for %s is ignored", m.id, text, addr)
			continue
		}
		result := m.c.res.Rewrite(ctx, "local", path.Address)
		if ext != "" {
			local, domain := smtp.SplitAddress(result)
			result = local + ext + "@" + domain
		}
		if len(result) > m.c.set.AliasAddressLengthLimit {
			return nil, fmt.Errorf("unreasonable virtual_alias_maps result %.30s... for %s", result, addr)
		}
		results = append(results, result)
	}
	return results, nil
}

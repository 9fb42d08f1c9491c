package smtp

import (
	"context"
	"fmt"
	"strings"
)

// siteLevels are the words of smtp_tls_per_site, the parameter that came before
// smtp_tls_policy_maps.
var siteLevels = map[string]tlsLevel{"none": tlsNone, "may": tlsMay, "must_nopeermatch": tlsEncrypt, "must": tlsVerify}

// A siteError is a table that could not be asked; mail waits.
type siteError struct{ error }

// siteLevel is the level of smtp_tls_per_site for a server, by its next hop and by its name: the
// stronger of the two, but "none" rather than "may". What the parameters ask for counts
// where the table says "may", or nothing.
func (t *tlsClient) siteLevel(ctx context.Context, nexthop, host string) (tlsLevel, error) {
	keys := []struct{ name, class string }{{nexthop, "next-hop destination"}}
	if !strings.EqualFold(nexthop, host) {
		keys = append(keys, struct{ name, class string }{host, "server hostname"})
	}
	var level tlsLevel
	found := false
	param := t.agent.Protocol.prefix() + "tls_per_site"
	for _, key := range keys {
		word, ok, err := t.sites.Lookup(ctx, key.name)
		if err != nil {
			t.agent.Log.Warningf("%s: %s %q: per-site table lookup error", param, key.class, key.name)
			return 0, siteError{fmt.Errorf("%s: %w", param, err)}
		}
		if !ok {
			continue
		}
		one, ok := siteLevels[strings.ToLower(word)]
		if !ok {
			t.agent.Log.Warningf("%s: unknown TLS policy '%s' for %s %s", param, word, key.class, key.name)
			return 0, errPolicy
		}
		switch {
		case !found, one == tlsNone && level == tlsMay:
			level = one
		case one == tlsMay && level == tlsNone:
		default:
			level = max(level, one)
		}
		found = true
	}
	if !found || level == tlsMay && t.level > tlsMay {
		return t.level, nil
	}
	return level, nil
}

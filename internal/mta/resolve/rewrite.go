package resolve

import (
	"context"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// Rewrite brings an address into standard form: user@domain with a complete
// domain. In the context "local" it is completed with $myorigin and
// $mydomain; in "remote", that of header addresses from elsewhere, with
// $remote_header_rewrite_domain, and left alone when there is none.
//
// A Rewrite of a rewritten address changes nothing.
func (r *Resolver) Rewrite(_ context.Context, context, addr string) string {
	if addr == "" || context == "remote" && r.set.RemoteHeaderRewriteDomain == "" || isComplete(addr) {
		return addr
	}
	tokens := r.rewrite(context, rfc822.Scan(rfc822.Quote(addr), 0))
	return rfc822.Unquote(rfc822.Quote(rfc822.Internal(tokens)))
}

// RewriteExternal is Rewrite for an address in external form.
func (r *Resolver) RewriteExternal(context, addr string) string {
	if context == "remote" && r.set.RemoteHeaderRewriteDomain == "" || isComplete(addr) {
		return addr
	}
	return rfc822.Quote(rfc822.Internal(r.rewrite(context, rfc822.Scan(addr, 0))))
}

// RewritesRemote reports whether header addresses from elsewhere are completed.
func (r *Resolver) RewritesRemote() bool { return r.set.RemoteHeaderRewriteDomain != "" }

// isComplete recognizes the usual address, user@host.domain, which is in
// standard form already and the same with quotes and without.
func isComplete(addr string) bool {
	at, dots := -1, 0
	for i := range len(addr) {
		switch c := addr[i]; {
		case c == '@':
			if at >= 0 || i == 0 {
				return false
			}
			at = i
		case c == '.':
			if i == 0 || i == len(addr)-1 || addr[i-1] == '.' || addr[i-1] == '@' || at < 0 && addr[i+1] == '@' {
				return false
			}
			if at >= 0 {
				dots++
			}
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '+', c == '=', c >= 0x80:
		default:
			return false
		}
	}
	return dots > 0
}

// rewrite brings the tokens of an address into standard form.
func (r *Resolver) rewrite(context string, t []rfc822.Token) []rfc822.Token {
	origin, mydomain := r.core.Myorigin, r.core.Mydomain
	if context == "remote" {
		origin, mydomain = r.set.RemoteHeaderRewriteDomain, r.set.RemoteHeaderRewriteDomain
	}
	switch {
	case len(t) == 0, len(t) == 1 && t[0].Kind == rfc822.Quoted && t[0].Text == "":
		return t
	case len(t) == 1 && t[0].Kind == '@':
		return []rfc822.Token{{Kind: rfc822.Quoted}}
	}
	if t[0].Kind == '@' { // a source route
		if i := index(t, ':'); i >= 0 && i < len(t)-1 {
			t = t[i+1:]
		}
	}
	if last(t, '@') < 0 {
		t = r.withDomain(t, origin)
	}
	if at := last(t, '@'); r.set.AppendDotMydomain && mydomain != "" && at >= 0 && at < len(t)-1 &&
		index(t[at:], rfc822.Literal) < 0 && index(t[at:], '.') < 0 {
		t = append(slices.Clip(t), rfc822.Token{Kind: '.'})
		t = append(t, rfc822.Scan(mydomain, 0)...)
	}
	return trimDot(t)
}

// trimDot removes a dot at the end; broken forms are left alone.
func trimDot(t []rfc822.Token) []rfc822.Token {
	if n := len(t); n > 1 && t[n-1].Kind == '.' && t[n-2].Kind != '.' && t[n-2].Kind != '@' {
		return t[:n-1]
	}
	return t
}

// withDomain gives an address without "@" a domain: that of a bang path or
// percent hack, else the origin.
func (r *Resolver) withDomain(t []rfc822.Token, origin string) []rfc822.Token {
	if r.set.SwapBangpath {
		if i := index(t, '!'); i >= 0 {
			return slices.Concat(t[i+1:], []rfc822.Token{{Kind: '@'}}, t[:i])
		}
	}
	if r.set.AllowPercentHack {
		if i := last(t, '%'); i >= 0 {
			t = slices.Clone(t)
			t[i].Kind = '@'
			return t
		}
	}
	if r.set.AppendAtMyorigin && origin != "" {
		t = append(slices.Clip(t), rfc822.Token{Kind: '@'})
		t = append(t, rfc822.Scan(origin, 0)...)
	}
	return t
}

func index(t []rfc822.Token, kind rfc822.Kind) int {
	return slices.IndexFunc(t, func(t rfc822.Token) bool { return t.Kind == kind })
}

func last(t []rfc822.Token, kind rfc822.Kind) int {
	for i := len(t) - 1; i >= 0; i-- {
		if t[i].Kind == kind {
			return i
		}
	}
	return -1
}

// stripped is an address without the domains of ours that were around it.
type stripped struct {
	text  string // in standard form, internal
	local bool
}

// strip takes domains of ours off an address as long as a route to elsewhere is
// below: user%remote@ours and user@remote@ours are user@remote.
func (r *Resolver) strip(ctx context.Context, addr string) (stripped, error) {
	t := rfc822.Scan(rfc822.Quote(addr), 0)
	var domain []rfc822.Token // that was taken off last, with its "@"
	for range len(addr) + 100 {
		if last(t, '@') >= 0 {
			t = trimDot(t)
		}
		if n := len(t); n > 0 && r.set.ResolveNullDomain && t[n-1].Kind == '@' {
			t = t[:n-1]
		}
		if at := last(t, '@'); at >= 0 {
			if at < len(t)-1 {
				local, err := r.isLocal(ctx, rfc822.Internal(t[at+1:]))
				if err != nil || !local {
					return stripped{text: rfc822.Internal(t)}, err
				}
			}
			t, domain = t[:at:at], t[at:]
		}
		next, again := r.below(t)
		if again {
			t = next
			continue
		}
		if len(t) == 1 && t[0].Kind == rfc822.Quoted && t[0].Text == "" {
			t = nil
		}
		switch {
		case len(t) == 0:
			t = rfc822.Scan(r.set.EmptyRecipient, 0)
		case domain == nil:
			t = append(slices.Clip(t), rfc822.Token{Kind: '@'})
			t = append(t, rfc822.Scan(r.core.Myhostname, 0)...)
		default:
			return stripped{rfc822.Internal(append(slices.Clip(t), domain...)), true}, nil
		}
	}
	r.log.Warningf("resolve_addr: <%s>: giving up after %d iterations", addr, len(addr)+100)
	return stripped{}, errTooManyRoutes
}

// below finds the route that is left in a local part.
func (r *Resolver) below(t []rfc822.Token) (next []rfc822.Token, again bool) {
	if last(t, '@') >= 0 || r.set.SwapBangpath && last(t, '!') >= 0 || r.set.AllowPercentHack && last(t, '%') >= 0 {
		return r.rewrite("local", t), true
	}
	if !r.set.ResolveDequotedAddress || len(t) != 1 || t[0].Kind != rfc822.Quoted {
		return nil, false
	}
	// What is quoted is no route by the book, but relays that take it for one exist.
	text := t[0].Text
	i := strings.LastIndexByte(text, '@')
	if i < 0 && r.set.AllowPercentHack {
		if i = strings.LastIndexByte(text, '%'); i >= 0 {
			text = text[:i] + "@" + text[i+1:]
		}
	}
	if i >= 0 {
		return r.rewrite("local", rfc822.Scan(rfc822.Quote(text), 0)), true
	}
	if r.set.SwapBangpath && strings.IndexByte(text, '!') >= 0 {
		return r.rewrite("local", rfc822.Scan(text, 0)), true
	}
	return nil, false
}

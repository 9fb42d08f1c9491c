package resolve

import (
	"context"
	"strings"
)

// Rewrite brings an address into standard form: user@domain with a complete
// domain. In the context "local" it is completed with $myorigin and
// $mydomain; in "remote", that of header addresses from elsewhere, with
// $remote_header_rewrite_domain, and left alone when there is none.
//
// A Rewrite of a rewritten address changes nothing.
func (r *Resolver) Rewrite(_ context.Context, context, addr string) string {
	origin, mydomain := r.core.Myorigin, r.core.Mydomain
	appendOrigin, appendDomain := r.set.AppendAtMyorigin, r.set.AppendDotMydomain
	if context == "remote" {
		if r.set.RemoteHeaderRewriteDomain == "" {
			return addr
		}
		origin, mydomain = r.set.RemoteHeaderRewriteDomain, r.set.RemoteHeaderRewriteDomain
		appendOrigin, appendDomain = true, true
	}
	if addr == "" {
		return ""
	}
	if addr == "@" {
		return ""
	}
	addr = r.withDomain(stripRoute(addr), origin, appendOrigin)
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr
	}
	domain := addr[at+1:]
	if appendDomain && domain != "" && domain[0] != '[' && strings.IndexByte(domain, '.') < 0 && mydomain != "" {
		return addr + "." + mydomain
	}
	if strings.HasSuffix(domain, ".") && len(domain) > 1 {
		return addr[:len(addr)-1]
	}
	return addr
}

// RewritesRemote reports whether header addresses from elsewhere are completed.
func (r *Resolver) RewritesRemote() bool { return r.set.RemoteHeaderRewriteDomain != "" }

// stripRoute removes a source route: "@a,@b:user@domain".
func stripRoute(addr string) string {
	if addr[0] != '@' {
		return addr
	}
	if i := strings.IndexByte(addr, ':'); i >= 0 && i < len(addr)-1 {
		return addr[i+1:]
	}
	return addr
}

// withDomain gives an address without "@" a domain: that of a bang path or
// percent hack, else the origin.
func (r *Resolver) withDomain(addr, origin string, appendOrigin bool) string {
	if strings.IndexByte(addr, '@') >= 0 {
		return addr
	}
	if r.set.SwapBangpath {
		if site, user, ok := strings.Cut(addr, "!"); ok && site != "" && user != "" {
			return user + "@" + site
		}
	}
	if r.set.AllowPercentHack {
		if user, domain, ok := cutLast(addr, '%'); ok && user != "" && domain != "" {
			return user + "@" + domain
		}
	}
	if appendOrigin && origin != "" {
		return addr + "@" + origin
	}
	return addr
}

package smtpd

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// The restrictions about client certificates.
func init() {
	restrictions["permit_tls_clientcerts"] = restriction{noArg, (*eval).permitTLSClientcerts}
	restrictions["permit_tls_all_clientcerts"] = restriction{noArg, (*eval).permitTLSAllClientcerts}
	restrictions["check_ccert_access"] = restriction{tableArg, (*eval).checkCcertAccess}
}

// permitTLSClientcerts permits certificates, or keys, whose fingerprint is in relay_clientcerts, whoever
// issued them.
func (e *eval) permitTLSClientcerts(it *item) verdict {
	s := e.s
	if s.tls.Protocol == "" {
		return dunno
	}
	if s.tls.Peer.Cert == nil {
		e.warnCcert(it)
		return dunno
	}
	found, err := s.hasRelayCert()
	switch {
	case err != nil:
		return e.lookupFailed(e.subject)
	case found:
		return e.permitted(it.name, s.clientSubject(), "")
	}
	return dunno
}

// hasRelayCert reports whether the fingerprint of the client's certificate, or of its key, is in relay_clientcerts.
func (s *session) hasRelayCert() (bool, error) {
	peer := &s.tls.Peer
	if peer.Cert == nil {
		return false, nil
	}
	for _, print := range []string{peer.Fingerprint, peer.KeyFingerprint} {
		_, found, err := s.srv.lists.clientcerts.Lookup(s.ctx, print)
		if err != nil {
			s.srv.log.Warningf("relay_clientcerts: lookup error for fingerprint '%s', pkey fingerprint %s", peer.Fingerprint, peer.KeyFingerprint)
		}
		if err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// permitTLSAllClientcerts permits every certificate that is trusted, too.
func (e *eval) permitTLSAllClientcerts(it *item) verdict {
	if e.s.tls.Peer.Trusted {
		return e.permitted(it.name, e.s.clientSubject(), "")
	}
	return e.permitTLSClientcerts(it)
}

// warnCcert tells of a restriction that can have no effect.
func (e *eval) warnCcert(it *item) {
	if !e.s.srv.set.TLSAskCcert {
		e.s.srv.log.Warningf("%s is requested, but \"smtpd_tls_ask_ccert = no\"", it.name)
	}
}

// checkCcertAccess looks the fingerprints of the client's certificate up. Replies show the name in it.
func (e *eval) checkCcertAccess(it *item) verdict {
	peer := &e.s.tls.Peer
	if peer.Cert == nil {
		e.warnCcert(it)
		return dunno
	}
	prints := map[string]string{"cert_fingerprint": peer.Fingerprint, "pubkey_fingerprint": peer.KeyFingerprint}
	for _, name := range it.search {
		if v := e.keyAccess(it, prints[name], subject{peer.Subject, "Client certificate"}); v != dunno {
			return v
		}
	}
	return dunno
}

// ccertSearch are the keys that check_ccert_access looks up, in their order.
var ccertSearch = []string{"cert_fingerprint", "pubkey_fingerprint"}

// searchOrder reads the argument of check_ccert_access: a table, or "{ table, { search_order = key ... } }".
func searchOrder(arg string) (table string, keys []string, err error) {
	inner, ok := strings.CutPrefix(arg, "{")
	if !ok {
		return arg, ccertSearch, nil
	}
	words := postfix.SplitList(strings.TrimSuffix(inner, "}"))
	if len(words) == 0 {
		return "", nil, fmt.Errorf("check_ccert_access: %s: no table", arg)
	}
	keys = ccertSearch
	for _, attribute := range words[1:] {
		name, value, _ := strings.Cut(strings.Trim(attribute, "{} \t"), "=")
		if strings.TrimSpace(name) != "search_order" {
			return "", nil, fmt.Errorf("check_ccert_access: %s: unknown attribute %s: use search_order", arg, name)
		}
		keys = postfix.SplitList(value)
		for _, key := range keys {
			if key != ccertSearch[0] && key != ccertSearch[1] {
				return "", nil, fmt.Errorf("check_ccert_access: unexpected action '%s' in '%s': use cert_fingerprint and pubkey_fingerprint", key, arg)
			}
		}
	}
	return words[0], keys, nil
}

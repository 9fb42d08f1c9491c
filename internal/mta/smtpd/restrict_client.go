package smtpd

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// permitInetInterfaces permits this host. Behind a proxy of its own it is not, as with
// Postfix, everybody.
func (e *eval) permitInetInterfaces(it *item) verdict {
	if e.s.srv.resolver.OwnAddr(e.s.client.peer) && e.s.srv.resolver.OwnAddr(e.s.client.addr) {
		return e.permitted(it.name, e.s.clientSubject(), "")
	}
	return dunno
}

func (e *eval) permitMynetworks(it *item) verdict {
	match, err := e.s.srv.lists.mynetworks.MatchAddr(e.s.ctx, e.s.client.name, e.s.client.addr)
	if err != nil {
		return e.lookupFailed(e.subject)
	}
	if match {
		return e.permitted(it.name, e.s.clientSubject(), "")
	}
	return dunno
}

func (e *eval) permitSASLAuthenticated(it *item) verdict {
	if e.s.authenticated() {
		return e.permitted(it.name, e.s.clientSubject(), "")
	}
	return dunno
}

// authenticated reports whether somebody has logged in.
func (s *session) authenticated() bool {
	return s.srv.sasl != nil && s.login.user != "" && !strings.EqualFold(s.login.method, "ANONYMOUS")
}

func (e *eval) rejectUnknownClient(*item) verdict {
	c := &e.s.client
	if c.status == nameOK {
		return dunno
	}
	code := e.s.srv.set.UnknownClientRejectCode
	if c.status == nameTemp {
		code = 450
	}
	return e.refuseWith(reply(code, smtp.Enhanced{4, 7, 25}, "Client host rejected: cannot find your hostname, ["+c.addrText+"]"))
}

func (e *eval) rejectUnknownReverseClient(*item) verdict {
	c := &e.s.client
	if c.rstatus == nameOK {
		return dunno
	}
	code := e.s.srv.set.UnknownClientRejectCode
	if c.rstatus == nameTemp {
		code = 450
	}
	return e.refuseWith(reply(code, smtp.Enhanced{4, 7, 1}, "Client host rejected: cannot find your reverse hostname, ["+c.addrText+"]"))
}

func (e *eval) checkClientAccess(it *item) verdict {
	return e.hostAccess(it, e.s.client.name, e.s.clientSubject(), withAddress)
}

func (e *eval) checkReverseClientAccess(it *item) verdict {
	sub := subject{e.s.client.reverse, "Unverified Client host"}
	return e.hostAccess(it, e.s.client.reverse, sub, withAddress|noPermit)
}

func (e *eval) checkSASLAccess(it *item) verdict {
	if !e.s.srv.set.SASLAuthEnable {
		e.s.srv.log.Warningf("restriction `%s' ignored: no SASL support", it.name)
		return dunno
	}
	if e.s.login.user == "" {
		return dunno
	}
	return e.keyAccess(it, e.s.login.user, subject{e.s.login.user, "SASL login name"})
}

// rewriteClients is local_header_rewrite_clients: a short list with the
// keywords and tables that tell local clients.
type rewriteClients struct {
	items []rewriteItem
}

type rewriteItem struct {
	keyword string
	maps    resolve.Maps
}

func (c *compiler) rewriteClients(value string) (rewriteClients, error) {
	var r rewriteClients
	words := postfix.SplitList(value)
	for i := 0; i < len(words); i++ {
		it := rewriteItem{keyword: strings.ToLower(words[i])}
		spec := ""
		switch {
		case it.keyword == "check_address_map" && i+1 < len(words):
			i++
			spec = words[i]
		case isTable(words[i]):
			it.keyword, spec = "check_address_map", words[i]
		}
		if spec != "" {
			var err error
			if it.maps, err = c.open.OpenMaps("local_header_rewrite_clients", spec); err != nil {
				return r, err
			}
		}
		r.items = append(r.items, it)
	}
	return r, nil
}

// has reports whether the client is one of them. An error is that of a table.
func (r rewriteClients) has(s *session) (bool, error) {
	for _, it := range r.items {
		switch it.keyword {
		case "permit_inet_interfaces":
			if s.srv.resolver.OwnAddr(s.client.peer) {
				return true, nil
			}
		case "permit_mynetworks":
			if match, err := s.srv.lists.mynetworks.MatchAddr(s.ctx, s.client.name, s.client.addr); err != nil || match {
				return match, err
			}
		case "permit_sasl_authenticated":
			if s.authenticated() {
				return true, nil
			}
		case "permit_tls_all_clientcerts":
			if s.tls.Peer.Trusted {
				return true, nil
			}
		case "permit_tls_clientcerts":
			if match, err := s.hasRelayCert(); err != nil || match {
				return match, err
			}
		case "check_address_map":
			if _, found, err := it.maps.Lookup(s.ctx, s.client.addrText); err != nil || found {
				return found, err
			}
		default:
			s.srv.log.Warningf("unknown keyword %q in local_header_rewrite_clients", it.keyword)
		}
	}
	return false, nil
}

package smtpd

import (
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// accessFlags modify how an access table is used.
type accessFlags uint8

const (
	withAddress accessFlags = 1 << iota // look for the client's address too
	noPermit                            // OK is a mistake: anyone can choose the name
)

// found is what an access table has for a key.
type found struct {
	value string
	datum string // what was looked for, as warnings name it
	ok    bool
	err   error
}

// hostAccess looks up a host name, then its parent domains, then perhaps the
// client's address (access(5), HOST NAME/ADDRESS PATTERNS).
func (e *eval) hostAccess(it *item, name string, sub subject, flags accessFlags) verdict {
	f := e.hostLookup(it, name)
	if f.err == nil && !f.ok && flags&withAddress != 0 {
		f = e.addrLookup(it, e.s.client.addrText)
	}
	v := e.accessResult(it, f, sub)
	if flags&noPermit != 0 {
		v = e.neverPermit(it, v, name)
	}
	return v
}

// hostLookup looks up a host name, then its parents. Whether these are written with a
// leading dot depends on parent_domain_matches_subdomains. Numbers have no parents.
func (e *eval) hostLookup(it *item, name string) found {
	f := found{datum: name}
	if name == "" {
		return f
	}
	if f.value, f.ok, f.err = it.maps.Lookup(e.s.ctx, name); f.err != nil || f.ok {
		return f
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return f
	}
	for f.err == nil && !f.ok {
		if name = e.s.srv.lists.parent(name); name == "" {
			break
		}
		f.value, f.ok, f.err = it.maps.LookupPartial(e.s.ctx, name)
	}
	return f
}

// parent is the domain above a name, or what stands for it in access tables.
func (l *lists) parent(name string) string {
	i := strings.IndexByte(name[1:], '.')
	if i < 0 {
		return ""
	}
	name = name[i+1:]
	if l.plainParents {
		name = name[1:]
	}
	return name
}

// addrLookup looks up an address, then its networks: 1.2.3.4, 1.2.3, 1.2, 1.
func (e *eval) addrLookup(it *item, text string) found {
	f := found{datum: text}
	sep := byte('.')
	if strings.IndexByte(text, ':') >= 0 {
		sep = ':'
	}
	f.value, f.ok, f.err = it.maps.Lookup(e.s.ctx, text)
	for f.err == nil && !f.ok {
		i := strings.LastIndexByte(text, sep)
		if i <= 0 {
			break
		}
		text = text[:i]
		f.value, f.ok, f.err = it.maps.LookupPartial(e.s.ctx, text)
	}
	return f
}

// addressAccess looks up a mail address in standard form.
func (e *eval) addressAccess(it *item, addr string, sub subject) verdict {
	if addr == "" {
		return e.keyAccess(it, e.s.srv.set.NullAccessLookupKey, sub)
	}
	return e.accessResult(it, e.addressLookup(it, addr), sub)
}

// addressLookup looks for user+ext@domain, user@domain, domain and parents, user+ext@, user@
// (access(5), EMAIL ADDRESS PATTERNS).
func (e *eval) addressLookup(it *item, addr string) found {
	ctx, maps := e.s.ctx, it.maps
	f := found{datum: addr}
	user, domain := smtp.SplitAddress(smtp.QuoteAddress(addr))
	if f.value, f.ok, f.err = maps.Lookup(ctx, user+"@"+domain); f.err != nil || f.ok {
		return f
	}
	partial := func(key string) bool {
		f.value, f.ok, f.err = maps.LookupPartial(ctx, key)
		return f.ok || f.err != nil
	}
	bare, ext := e.s.srv.resolver.SplitExtension(user)
	if ext != "" && partial(bare+"@"+domain) {
		return f
	}
	for key := domain; key != ""; key = e.s.srv.lists.parent(key) {
		if partial(key) {
			return f
		}
	}
	if partial(user+"@") || ext == "" {
		return f
	}
	partial(bare + "@")
	return f
}

// keyAccess looks up one key as it is.
func (e *eval) keyAccess(it *item, key string, sub subject) verdict {
	f := found{datum: key}
	f.value, f.ok, f.err = it.maps.Lookup(e.s.ctx, key)
	return e.accessResult(it, f, sub)
}

func (e *eval) checkETRNAccess(it *item) verdict {
	if e.command != "ETRN" {
		return dunno
	}
	site := subject{e.s.site, "Etrn command"}
	return e.accessResult(it, e.hostLookup(it, site.text), site)
}

// accessResult does what a table said. A DUNNO in the table hides the keys
// after it. A table that cannot be asked refuses.
func (e *eval) accessResult(it *item, f found, sub subject) verdict {
	switch {
	case f.err != nil:
		return e.refuse(451, smtp.Enhanced{4, 3, 5}, sub, "Server configuration error")
	case !f.ok:
		return dunno
	}
	return e.action(it, f.value, f.datum, sub)
}

// neverPermit makes a mistake of OK for a name that anyone can choose.
func (e *eval) neverPermit(it *item, v verdict, name string) verdict {
	if v != permit || e.s.tx.actions.discard {
		return v
	}
	e.s.srv.log.Warningf("restriction %s returns OK for %s", it.name, name)
	e.s.srv.log.Warningf("this is not allowed for security reasons")
	e.s.srv.log.Warningf("use DUNNO instead of OK if you want to make an exception")
	return e.configError()
}

// tableReply words a refusal by a table: its text may begin with a status code.
func (e *eval) tableReply(code int, enhanced smtp.Enhanced, text, byDefault string, sub subject) smtp.Reply {
	if dsn, used := smtp.ParseEnhanced(text); used > 0 {
		enhanced, text = e.s.dsnFor(sub.class, dsn), strings.TrimLeft(text[used:], " \t")
	}
	if text == "" {
		text = byDefault
	}
	return sub.reply(code, enhanced.WithClass(code), text)
}

// The detail codes of X.1.Y that fit a sender or recipient, by those that a
// table has (RFC 3463 3.2 has different ones for both).
var (
	senderDetails    = [...]uint16{0, 7, 8, 7, 7, 0, 7, 7, 8}
	recipientDetails = [...]uint16{0, 1, 2, 3, 4, 5, 6, 3, 2}
)

// dsnFor adapts a status code about addresses to what is judged.
func (s *session) dsnFor(class string, e smtp.Enhanced) smtp.Enhanced {
	if e[1] != 1 {
		return e
	}
	fit := e
	switch class {
	case "Sender address":
		fit[2] = detail(senderDetails[:], e[2], 0)
	case "Recipient address":
		fit[2] = detail(recipientDetails[:], e[2], e[2])
	default:
		fit[1], fit[2] = 0, 0
	}
	if fit != e {
		s.srv.log.Infof("mapping DSN status %s into %s status %s", e, class, fit)
	}
	return fit
}

func detail(table []uint16, n, other uint16) uint16 {
	if int(n) < len(table) {
		return table[n]
	}
	return other
}

func (e *eval) tableRefusal(code int, enhanced smtp.Enhanced, text string, sub subject) verdict {
	return e.refuseWith(e.tableReply(code, enhanced, text, "Access denied", sub))
}

// maxAccessDepth bounds tables that name restrictions that look into tables.
const maxAccessDepth = 100

// restrictionsOf evaluates a table's result as a list of restrictions, which judge what
// the table judged.
func (e *eval) restrictionsOf(it *item, value string, sub subject) verdict {
	log := e.s.srv.log
	if strings.IndexByte(value, ':') >= 0 {
		log.Warningf("access table %s has entry with lookup table: %s", it.arg, value)
		log.Warningf("do not specify lookup tables inside SMTPD access maps")
		log.Warningf("define a restriction class and specify its name instead.")
		return e.configError()
	}
	if e.depth++; e.depth > maxAccessDepth {
		log.Warningf("access table %s entry %s causes unreasonable recursion", it.arg, value)
		return e.configError()
	}
	defer func(outer subject) {
		e.depth--
		e.subject = outer
	}(e.subject)
	e.subject = sub
	list, err := e.s.srv.rules.inTable(value)
	if err != nil {
		log.Warningf("access table %s entry %s: %v", it.arg, value, err)
		return e.configError()
	}
	if len(list) == 0 {
		log.Warningf("access table %s entry %s has empty value", it.arg, value)
		return permit
	}
	return e.run(list)
}

package smtpd

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// messageActions are what access tables ordered for the message as a whole.
type messageActions struct {
	hold, discard    bool
	filter, redirect string
	bcc              []string
	prepend          []string
}

// accessFlags modify how an access table is used.
type accessFlags uint8

const (
	withAddress accessFlags = 1 << iota // look for the client's address too
	noPermit                            // OK is a mistake: anyone can choose the name
)

// hostAccess looks up a host name, then its parent domains, then perhaps the
// client's address (access(5), HOST NAME/ADDRESS PATTERNS).
func (e *eval) hostAccess(it *item, name string, sub subject, flags accessFlags) verdict {
	value, found, err := e.hostLookup(it, name)
	if err == nil && !found && flags&withAddress != 0 {
		value, found, err = e.addrLookup(it, e.s.client.addr)
	}
	return e.accessResult(it, value, found, err, sub, flags)
}

func (e *eval) hostLookup(it *item, name string) (string, bool, error) {
	value, found, err := it.maps.Lookup(e.s.ctx, name)
	if err != nil || found || name == unknownName {
		return value, found, err
	}
	return e.parentLookup(it, name)
}

// parentLookup looks up the parents of a domain. Whether they are written
// with a leading dot depends on parent_domain_matches_subdomains.
func (e *eval) parentLookup(it *item, name string) (string, bool, error) {
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false, nil
	}
	for i := strings.IndexByte(name, '.'); i >= 0; i = strings.IndexByte(name, '.') {
		key := name[i:]
		name = name[i+1:]
		if e.s.srv.lists.plainParents {
			key = name
		}
		if name == "" {
			break
		}
		value, found, err := it.maps.LookupPartial(e.s.ctx, key)
		if err != nil || found {
			return value, found, err
		}
	}
	return "", false, nil
}

// addrLookup looks up an address, then its networks: 1.2.3.4, 1.2.3, 1.2, 1.
func (e *eval) addrLookup(it *item, addr netip.Addr) (string, bool, error) {
	if !addr.IsValid() {
		return "", false, nil
	}
	text := addr.String()
	value, found, err := it.maps.Lookup(e.s.ctx, text)
	sep := byte('.')
	if addr.Is6() {
		sep = ':'
	}
	for err == nil && !found {
		i := strings.LastIndexByte(text, sep)
		if i <= 0 {
			break
		}
		text = strings.TrimRight(text[:i], ":")
		value, found, err = it.maps.LookupPartial(e.s.ctx, text)
	}
	return value, found, err
}

// addressAccess looks up a mail address: user+ext@domain, user@domain, domain
// and parents, user+ext@, user@ (access(5), EMAIL ADDRESS PATTERNS).
func (e *eval) addressAccess(it *item, addr string, sub subject) verdict {
	value, found, err := e.addressLookup(it, addr)
	return e.accessResult(it, value, found, err, sub, 0)
}

func (e *eval) addressLookup(it *item, addr string) (string, bool, error) {
	ctx, maps, res := e.s.ctx, it.maps, e.s.srv.resolver
	if addr == "" {
		return maps.Lookup(ctx, e.s.srv.set.NullAccessLookupKey)
	}
	addr = smtp.QuoteAddress(res.Rewrite(ctx, "local", addr))
	value, found, err := maps.Lookup(ctx, addr)
	if err != nil || found {
		return value, found, err
	}
	user, domain := smtp.SplitAddress(addr)
	bare, ext := res.SplitExtension(user)
	keys := [...]string{bare + "@" + domain, domain, user + "@", bare + "@"}
	for i, key := range keys {
		if (i == 0 || i == 3) && ext == "" {
			continue
		}
		if value, found, err = maps.LookupPartial(ctx, key); err != nil || found {
			return value, found, err
		}
		if i == 1 {
			if value, found, err = e.parentLookup(it, domain); err != nil || found {
				return value, found, err
			}
		}
	}
	return "", false, nil
}

// keyAccess looks up one key as it is.
func (e *eval) keyAccess(it *item, key string, sub subject) verdict {
	value, found, err := it.maps.Lookup(e.s.ctx, key)
	return e.accessResult(it, value, found, err, sub, 0)
}

func (e *eval) checkETRNAccess(it *item) verdict {
	value, found, err := e.hostLookup(it, e.subject.text)
	return e.accessResult(it, value, found, err, e.subject, 0)
}

// accessResult does what a table said. A DUNNO in the table hides the keys
// after it.
func (e *eval) accessResult(it *item, value string, found bool, err error, sub subject, flags accessFlags) verdict {
	if err != nil {
		return e.configError()
	}
	if !found {
		return dunno
	}
	v := e.action(it, value, sub)
	if v == permit && flags&noPermit != 0 {
		e.s.srv.log.Warningf("%s: restriction %s returns OK for %s", e.s.client.label, it.name, sub.text)
		e.s.srv.log.Warningf("this is not allowed for security reasons")
		e.s.srv.log.Warningf("use DUNNO instead of OK if you want to make an exception")
		return e.configError()
	}
	return v
}

// accessAction does one of the actions of access(5); text is what follows its name.
type accessAction func(e *eval, it *item, text string, sub subject) verdict

var accessActions map[string]accessAction

func init() {
	accessActions = map[string]accessAction{
		"OK":    func(*eval, *item, string, subject) verdict { return permit },
		"RELAY": func(*eval, *item, string, subject) verdict { return permit },
		"DUNNO": func(*eval, *item, string, subject) verdict { return dunno },
		"REJECT": func(e *eval, _ *item, text string, sub subject) verdict {
			return e.tableRefusal(e.s.srv.set.AccessMapRejectCode, smtp.Enhanced{5, 7, 1}, text, "Access denied", sub)
		},
		"DEFER": func(e *eval, _ *item, text string, sub subject) verdict {
			return e.tableRefusal(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, text, "Access denied", sub)
		},
		"DEFER_IF_PERMIT": func(e *eval, _ *item, text string, sub subject) verdict {
			return e.saveIfPermit(e.tableReply(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, text, "Service unavailable", sub))
		},
		"DEFER_IF_REJECT": func(e *eval, _ *item, text string, sub subject) verdict {
			return e.saveIfReject(e.tableReply(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, text, "Service unavailable", sub))
		},
		"HOLD":     (*eval).actHold,
		"DISCARD":  (*eval).actDiscard,
		"FILTER":   (*eval).actFilter,
		"REDIRECT": (*eval).actRedirect,
		"BCC":      (*eval).actBCC,
		"PREPEND":  (*eval).actPrepend,
		"INFO":     func(e *eval, _ *item, text string, _ subject) verdict { return e.actLog("info", text) },
		"WARN":     func(e *eval, _ *item, text string, _ subject) verdict { return e.actLog("warn", text) },
		"HANGUP":   (*eval).actHangup,
	}
}

func (e *eval) action(it *item, value string, sub subject) verdict {
	word, text, _ := strings.Cut(strings.TrimSpace(value), " ")
	text = strings.TrimSpace(text)
	if do, ok := accessActions[strings.ToUpper(word)]; ok {
		return do(e, it, text, sub)
	}
	if word == "" {
		e.s.srv.log.Warningf("access table %s entry has empty value", it.arg)
		return permit
	}
	if isDigits(word) {
		if len(word) == 3 && (word[0] == '4' || word[0] == '5') && text != "" {
			code := int(word[0]-'0')*100 + int(word[1]-'0')*10 + int(word[2]-'0')
			return e.tableRefusal(code, smtp.Enhanced{uint16(word[0] - '0'), 7, 1}, text, "", sub)
		}
		return permit
	}
	return e.restrictionsOf(it, value)
}

// tableReply words a refusal by a table: its text may begin with a status code.
func (e *eval) tableReply(code int, enhanced smtp.Enhanced, text, byDefault string, sub subject) smtp.Reply {
	if dsn, used := smtp.ParseEnhanced(text); used > 0 {
		enhanced, text = e.s.dsnFor(sub.class, dsn), strings.TrimLeft(text[used:], " \t")
	}
	if text == "" {
		text = byDefault
	}
	return reply(code, enhanced.WithClass(code), "<"+printable(sub.text)+">: "+sub.class+" rejected: "+text)
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

func (e *eval) tableRefusal(code int, enhanced smtp.Enhanced, text, byDefault string, sub subject) verdict {
	return e.refuseWith(e.tableReply(code, enhanced, text, byDefault, sub))
}

// maxAccessDepth bounds tables that name restrictions that look into tables.
const maxAccessDepth = 100

// restrictionsOf evaluates a table's result as a list of restrictions.
func (e *eval) restrictionsOf(it *item, value string) verdict {
	if e.depth++; e.depth > maxAccessDepth {
		e.s.srv.log.Warningf("%s: unreasonable nesting of access tables: %s", e.s.client.label, it.arg)
		return e.configError()
	}
	defer func() { e.depth-- }()
	for _, word := range postfix.SplitList(value) {
		var v verdict
		if isTable(word) {
			e.s.srv.log.Warningf("access table %s has entry with lookup table: %s", it.arg, value)
			e.s.srv.log.Warningf("do not specify lookup tables inside SMTPD access maps")
			e.s.srv.log.Warningf("define a restriction class and specify its name instead.")
			return e.configError()
		}
		if class, ok := e.s.srv.rules.classes[word]; ok {
			v = e.run(class)
		} else if r, ok := restrictions[strings.ToLower(word)]; ok && r.arg == noArg {
			v = r.run(e, &item{name: word, run: r.run})
		} else {
			v = e.unknownRestriction(&item{name: word})
		}
		if v != dunno {
			return v
		}
	}
	return dunno
}

// logOrdered tells that a table ordered something for the message.
func (e *eval) logOrdered(action, text, byDefault string, sub subject) {
	if text == "" {
		text = byDefault
	}
	e.s.logAction(action, e.command, func(b []byte) []byte {
		return fmt.Appendf(b, "<%s>: %s %s", printable(sub.text), sub.class, text)
	})
}

func (e *eval) actHold(_ *item, text string, sub subject) verdict {
	if !e.s.tx.actions.hold {
		e.s.tx.actions.hold = true
		e.logOrdered("hold", text, "triggers HOLD action", sub)
	}
	return dunno
}

func (e *eval) actDiscard(_ *item, text string, sub subject) verdict {
	e.s.tx.actions.discard = true
	e.logOrdered("discard", text, "triggers DISCARD action", sub)
	return permit
}

func (e *eval) actFilter(it *item, text string, sub subject) verdict {
	if strings.IndexByte(text, ':') <= 0 {
		e.s.srv.log.Warningf("access table %s has entry with bad FILTER action: %s", it.arg, text)
		return e.configError()
	}
	e.s.tx.actions.filter = text
	e.logOrdered("filter", "triggers FILTER "+text, "", sub)
	return dunno
}

func (e *eval) actRedirect(it *item, text string, sub subject) verdict {
	if strings.IndexByte(text, '@') < 0 {
		e.s.srv.log.Warningf("access table %s has entry with bad REDIRECT action: %s", it.arg, text)
		return e.configError()
	}
	e.s.tx.actions.redirect = text
	e.logOrdered("redirect", "triggers REDIRECT "+text, "", sub)
	return dunno
}

func (e *eval) actBCC(it *item, text string, sub subject) verdict {
	if strings.IndexByte(text, '@') < 0 {
		e.s.srv.log.Warningf("access table %s has entry with bad BCC action: %s", it.arg, text)
		return e.configError()
	}
	e.s.tx.actions.bcc = append(e.s.tx.actions.bcc, text)
	e.logOrdered("bcc", "triggers BCC "+text, "", sub)
	return dunno
}

func (e *eval) actPrepend(it *item, text string, _ subject) verdict {
	if !isHeader([]byte(text)) || e.command == "END-OF-MESSAGE" {
		e.s.srv.log.Warningf("access table %s has entry with bad PREPEND action: %s", it.arg, text)
		return dunno
	}
	e.s.tx.actions.prepend = append(e.s.tx.actions.prepend, text)
	return dunno
}

func (e *eval) actLog(action, text string) verdict {
	e.s.logAction(action, e.command, func(b []byte) []byte { return append(b, text...) })
	return dunno
}

func (e *eval) actHangup(_ *item, text string, sub subject) verdict {
	e.logOrdered("hangup", text, "triggers HANGUP action", sub)
	e.s.closing = true
	e.s.hangup = true
	e.reply = smtp.Reply{}
	return reject
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

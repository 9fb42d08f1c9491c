package smtpd

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// messageActions are what access tables and milters ordered for the message as a whole.
type messageActions struct {
	hold             bool
	discard          bool // by a table: no restriction has a say any more
	thrown           bool // by a milter: restrictions still refuse, as with Postfix
	filter, redirect string
	bcc              []string
	prepend          []string
}

// A tableEntry is what an access table ordered.
type tableEntry struct {
	table string
	datum string // for what
	word  string // the action, as written
	text  string // what follows it
}

// accessActions are the actions of access(5), but for codes and restrictions.
var accessActions map[string]func(e *eval, t *tableEntry, sub subject) verdict

func init() {
	ok := func(e *eval, t *tableEntry, sub subject) verdict { return e.permitted(t.word, sub, t.table) }
	accessActions = map[string]func(e *eval, t *tableEntry, sub subject) verdict{
		"OK":    ok,
		"RELAY": ok,
		"DUNNO": func(*eval, *tableEntry, subject) verdict { return dunno },
		"REJECT": func(e *eval, t *tableEntry, sub subject) verdict {
			return e.tableRefusal(e.s.srv.set.AccessMapRejectCode, smtp.Enhanced{5, 7, 1}, t.text, sub)
		},
		"DEFER": func(e *eval, t *tableEntry, sub subject) verdict {
			return e.tableRefusal(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, t.text, sub)
		},
		"DEFER_IF_PERMIT": func(e *eval, t *tableEntry, sub subject) verdict {
			return e.saveIfPermit(e.tableReply(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, t.text, "Service unavailable", sub))
		},
		"DEFER_IF_REJECT": func(e *eval, t *tableEntry, sub subject) verdict {
			return e.saveIfReject(e.tableReply(e.s.srv.set.AccessMapDeferCode, smtp.Enhanced{4, 7, 1}, t.text, "Service unavailable", sub))
		},
		"HOLD":     (*eval).actHold,
		"DISCARD":  (*eval).actDiscard,
		"FILTER":   (*eval).actFilter,
		"REDIRECT": (*eval).actRedirect,
		"BCC":      (*eval).actBCC,
		"PREPEND":  (*eval).actPrepend,
		"INFO":     func(e *eval, t *tableEntry, _ subject) verdict { return e.actLog("info", t.text) },
		"WARN":     func(e *eval, t *tableEntry, _ subject) verdict { return e.actLog("warn", t.text) },
		"HANGUP":   (*eval).actHangup,
	}
}

// action does what a table, or a policy server, says.
func (e *eval) action(it *item, value, datum string, sub subject) verdict {
	n := strings.IndexAny(value, " \t")
	if n < 0 {
		n = len(value)
	}
	t := &tableEntry{table: it.arg, datum: datum, word: value[:n], text: strings.TrimLeft(value[n:], " \t\r\n\v\f")}
	if do, ok := accessActions[strings.ToUpper(t.word)]; ok {
		return do(e, t, sub)
	}
	if isDigits(value) {
		return e.permitted(t.word, sub, t.table)
	}
	if len(t.word) == 3 && isDigits(t.word) && (t.word[0] == '4' || t.word[0] == '5') && t.text != "" {
		class := t.word[0] - '0'
		code := int(class)*100 + int(t.word[1]-'0')*10 + int(t.word[2]-'0')
		return e.tableRefusal(code, smtp.Enhanced{uint16(class), 7, 1}, t.text, sub)
	}
	return e.restrictionsOf(it, value, sub)
}

// logOrdered tells that a table ordered something for the message.
func (e *eval) logOrdered(action, text, byDefault string, sub subject) {
	if text == "" {
		text = byDefault
	}
	e.s.logAction(action, e.command, func(b []byte) []byte {
		return fmt.Appendf(b, "<%s>: %s %s", sub.text, sub.class, text)
	})
}

// canOrder reports whether there is a message that an action could be for.
func (e *eval) canOrder(t *tableEntry, action string) bool {
	switch {
	case e.s.srv.filter != nil: // what there is no queue file for
		e.s.srv.log.Warningf("access table %s: with smtpd_proxy_filter specified, action %s is unavailable", t.table, action)
		return false
	case e.command == "ETRN":
		e.s.srv.log.Warningf("access table %s: action %s is unavailable in smtpd_etrn_restrictions", t.table, action)
		return false
	}
	return e.inTransaction(t, action)
}

func (e *eval) inTransaction(t *tableEntry, action string) bool {
	if !e.s.tx.open {
		e.s.srv.log.Warningf("access table %s: with smtpd_delay_reject=no, action %s is always skipped in Client host or Helo command restrictions", t.table, action)
	}
	return e.s.tx.open
}

func (e *eval) actHold(t *tableEntry, sub subject) verdict {
	if e.canOrder(t, "HOLD") && !e.s.tx.actions.hold {
		e.s.tx.actions.hold = true
		e.logOrdered("hold", t.text, "triggers HOLD action", sub)
	}
	return dunno
}

func (e *eval) actDiscard(t *tableEntry, sub subject) verdict {
	if !e.canOrder(t, "DISCARD") {
		return dunno
	}
	e.logOrdered("discard", t.text, "triggers DISCARD action", sub)
	e.s.tx.actions.discard = true
	return e.permitted(t.word, sub, t.table)
}

func (e *eval) actFilter(t *tableEntry, sub subject) verdict {
	switch {
	case !e.canOrder(t, "FILTER"):
	case t.text == "":
		e.s.srv.log.Warningf("access table %s entry \"%s\" has FILTER entry without value", t.table, t.datum)
	case strings.IndexByte(t.text, ':') < 0:
		e.s.srv.log.Warningf("access table %s entry \"%s\" requires transport:destination", t.table, t.datum)
	default:
		e.s.tx.actions.filter = t.text
		e.logOrdered("filter", "triggers FILTER "+t.text, "", sub)
	}
	return dunno
}

func (e *eval) actRedirect(t *tableEntry, sub subject) verdict {
	if e.canOrder(t, "REDIRECT") && e.hasAddress(t) {
		e.s.tx.actions.redirect = t.text
		e.logOrdered("redirect", "triggers REDIRECT "+t.text, "", sub)
	}
	return dunno
}

func (e *eval) actBCC(t *tableEntry, sub subject) verdict {
	if e.canOrder(t, "BCC") && e.hasAddress(t) {
		e.s.tx.actions.bcc = append(e.s.tx.actions.bcc, t.text)
		e.logOrdered("bcc", "triggers BCC "+t.text, "", sub)
	}
	return dunno
}

func (e *eval) hasAddress(t *tableEntry) bool {
	if strings.IndexByte(t.text, '@') < 0 {
		e.s.srv.log.Warningf("access table %s entry \"%s\" requires user@domain target", t.table, t.datum)
		return false
	}
	return true
}

func (e *eval) actPrepend(t *tableEntry, _ subject) verdict {
	switch {
	case !e.inTransaction(t, "PREPEND"):
	case e.command == "END-OF-MESSAGE":
		e.s.srv.log.Warningf("access table %s: action PREPEND must be used before smtpd_end_of_data_restrictions", t.table)
	case !isHeader([]byte(t.text)):
		e.s.srv.log.Warningf("access table %s entry \"%s\" requires header: text", t.table, t.datum)
	default:
		e.s.tx.actions.prepend = append(e.s.tx.actions.prepend, t.text)
	}
	return dunno
}

func (e *eval) actLog(action, text string) verdict {
	e.s.logAction(action, e.command, func(b []byte) []byte { return append(b, text...) })
	return dunno
}

func (e *eval) actHangup(t *tableEntry, _ subject) verdict {
	e.actLog("hangup", t.text)
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

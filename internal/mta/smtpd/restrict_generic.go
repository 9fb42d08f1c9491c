package smtpd

import (
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

func (e *eval) permitAll(it *item) verdict { return e.permitted(it.name, e.subject, "") }

func (e *eval) rejectAll(*item) verdict {
	return e.refuse(e.s.srv.set.RejectCode, smtp.Enhanced{5, 7, 1}, e.subject, "Access denied")
}

func (e *eval) deferAll(*item) verdict {
	return e.refuse(e.s.srv.set.DeferCode, smtp.Enhanced{4, 3, 2}, e.subject, "Try again later")
}

func (e *eval) deferIfPermit(*item) verdict {
	return e.saveIfPermit(e.deferReply("defer_if_permit requested"))
}

func (e *eval) deferIfReject(*item) verdict {
	return e.saveIfReject(e.deferReply("defer_if_reject requested"))
}

func (e *eval) deferReply(text string) smtp.Reply {
	return e.subject.reply(450, smtp.Enhanced{4, 7, 0}, text)
}

// saveIfPermit refuses later what would be permitted. The first reason counts.
func (e *eval) saveIfPermit(r smtp.Reply) verdict {
	if e.warn {
		return e.refuseWith(r)
	}
	if d := &e.s.tx.defers; d.ifPermit.Code == 0 {
		d.ifPermit = r
	}
	return dunno
}

// saveIfReject turns a later refusal for good into one for now.
func (e *eval) saveIfReject(r smtp.Reply) verdict {
	if d := &e.s.tx.defers; d.ifReject.Code == 0 {
		d.ifReject = r
	}
	return dunno
}

// tempfail is for a failure that may go away by itself. The action is "defer" or
// "defer_if_permit".
func (e *eval) tempfail(action string, r smtp.Reply) verdict {
	if action == "defer" {
		return e.refuseWith(r)
	}
	return e.saveIfPermit(r)
}

// maxSleep bounds the restriction sleep, in seconds.
const maxSleep = 300

func (e *eval) sleep(it *item) verdict {
	n, err := strconv.Atoi(it.arg)
	if err != nil {
		n = maxSleep
	}
	e.s.pause(time.Duration(min(n, maxSleep)) * time.Second)
	return dunno
}

func (e *eval) sleepWithoutNumber(*item) verdict {
	e.s.srv.log.Warningf("restriction sleep must be followed by number")
	return e.configError()
}

func (e *eval) rejectUnauthPipelining(*item) verdict {
	if !e.s.pipelined {
		return dunno
	}
	return e.refuse(503, smtp.Enhanced{5, 5, 0}, e.subject, "Improper use of SMTP command pipelining")
}

func (e *eval) rejectPlaintextSession(*item) verdict {
	if e.s.tls.Protocol != "" {
		return dunno
	}
	return e.refuseWith(reply(e.s.srv.set.PlaintextRejectCode, smtp.Enhanced{4, 7, 1}, "Session encryption is required"))
}

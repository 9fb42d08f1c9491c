package auth

import (
	"encoding/base64"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// succeed answers OK, if the policy server does not mind, and not before delay_until.
func (r *request) succeed() { r.checkPolicy(true, r.delayOK) }

func (r *request) delayOK() {
	if wait := time.Until(r.DelayUntil); !r.DelayUntil.IsZero() && wait > 0 {
		time.AfterFunc(wait, func() { r.guard(r.sendOK) })
		return
	}
	r.sendOK()
}

func (r *request) sendOK() {
	if !r.finishProxy() {
		return
	}
	if r.final != nil && r.finalOK {
		r.Fields.Set(db.Field{Name: "resp", Value: base64.StdEncoding.EncodeToString(r.final)})
	}
	for _, name := range [...]string{"nologin", "proxy"} {
		if r.Fields.Has(name) {
			r.Fields.Set(db.Field{Name: name}) // whatever its value
		}
	}
	r.logFinished()
	if r.failures > 0 {
		r.conn.shared.penalties.reset(r.Remote.Addr())
	}
	r.reportPolicy(true)
	tried := r.Password
	r.conn.finish(r, r.needsConfirmation(), func(b []byte) []byte {
		b = wire.AppendID(append(b, "OK"...), r.id)
		b = wire.AppendField(b, "user", r.User)
		b = r.Fields.Append(b)
		b = r.appendTail(b)
		b = r.appendProxy(b, tried)
		return append(b, '\n')
	})
}

// needsConfirmation reports whether a REQUEST will follow: login processes
// send one for all who get a session here.
func (r *request) needsConfirmation() bool {
	return r.conn.kind == KindLogin && !r.Fields.Has("nologin") && !r.Fields.Has("proxy")
}

// appendTail appends what follows the extra fields in OK and FAIL.
func (r *request) appendTail(b []byte) []byte {
	if r.hasOriginal && (r.OriginalUser != r.User || r.User == "") && !r.Fields.Has("original_user") {
		b = wire.AppendField(b, "original_user", r.OriginalUser)
	}
	if r.MasterUser != "" && !r.Fields.Has("auth_user") {
		b = wire.AppendField(b, "auth_user", r.MasterUser)
	}
	if anonymous := r.conn.server().set.AnonymousUsername; anonymous != "" && r.User == anonymous {
		b = append(b, "\tanonymous"...)
	}
	return b
}

// appendProxy appends with what a login process logs in at the host that it
// relays the session to.
func (r *request) appendProxy(b []byte, tried string) []byte {
	if r.conn.kind != KindLogin || !r.Fields.Has("proxy") {
		return b
	}
	if tried != "" && !r.Fields.Has("pass") {
		b = wire.AppendField(b, "pass", tried)
	}
	if r.MasterUser != "" && !r.Fields.Has("master") {
		b = wire.AppendField(b, "master", r.MasterUser)
	}
	return b
}

// fail answers FAIL after the delay.
func (r *request) fail(res result) {
	s := r.conn.server()
	r.logFinished()
	r.reportPolicy(false)
	if r.policyRefusal && s.policy != nil && s.policy.set.LogOnly {
		r.Fields.Remove("reason") // it is not what the login failed for
	}
	if s.penalizes(r) && res != resultInternal && !r.Fields.Has("nodelay") {
		r.punish()
	}
	delay := failureWait(s.set.FailureDelay, time.Since(r.asked))
	if r.Fields.Has("nodelay") {
		delay = 0
	}
	delay = max(delay, time.Until(r.DelayUntil))
	if delay > 0 {
		time.AfterFunc(delay, func() { r.guard(func() { r.sendFail(res) }) })
		return
	}
	r.sendFail(res)
}

// punish lets the next attempts from the client's address wait longer.
func (r *request) punish() {
	r.conn.shared.penalties.failed(r.Remote.Addr(), r.failures, r.User, r.Password)
}

// failureStep is the grain of the time at which a failure is told, if deciding took
// longer than the delay.
const failureStep = 500 * time.Millisecond

// failureWait returns how much longer a failure is kept back that was decided
// elapsed after the question. The delay counts from there: if it began with the
// decision, its end would tell whether a password hash was computed, and so whether
// there is such a user. Dovecot tells its failures in rounds for that.
func failureWait(delay, elapsed time.Duration) time.Duration {
	if delay <= 0 {
		return 0
	}
	if late := elapsed - delay; late > 0 {
		delay += (late + failureStep - 1) / failureStep * failureStep
	}
	return delay - elapsed
}

func (r *request) sendFail(res result) {
	dropProxy(&r.Request)
	r.Fields.Remove("nologin")
	r.conn.finish(r, false, func(b []byte) []byte {
		b = wire.AppendID(append(b, "FAIL"...), r.id)
		if r.hasOriginal {
			name := r.User
			if name == "" {
				name = r.OriginalUser
			}
			b = wire.AppendField(b, "user", name)
		}
		if r.Fields.Has("nodelay") {
			b = append(b, "\tnodelay"...)
		}
		if code := r.failureCode(res); code != "" {
			b = wire.AppendField(b, "code", code)
		}
		b = r.Fields.Append(b)
		b = r.appendTail(b)
		return append(b, '\n')
	})
}

// failureCode is for failures that are not simply the client's.
func (r *request) failureCode(res result) string {
	switch res {
	case resultInternal:
		return "temp_fail"
	case resultDisabled:
		return "user_disabled"
	case resultExpired:
		return "pass_expired"
	}
	if r.MasterUser != "" {
		return "authz_fail"
	}
	return ""
}

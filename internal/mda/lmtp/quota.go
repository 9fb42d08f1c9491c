package lmtp

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A QuotaChecker is a [Mailer] that can tell before there is a message that there is no room for one.
type QuotaChecker interface {
	// CheckQuota returns a *store.Error that says so.
	CheckQuota(ctx context.Context, user store.UserInfo) error
}

var _ QuotaChecker = (*Local)(nil)

// CheckQuota implements [QuotaChecker].
func (l *Local) CheckQuota(ctx context.Context, info store.UserInfo) error {
	if l.once.Do(l.configure); l.err != nil {
		return l.err
	}
	user, err := store.OpenUser(ctx, l.Dovecot, info, l.Pool, l.Log.With(l.prefix.Tag(&info)))
	if err != nil {
		return err
	}
	defer user.Close()
	return user.CheckQuota(ctx, 0)
}

// checkQuota refuses a recipient who is over quota, if lmtp_rcpt_check_quota asks for that.
func (c *session) checkQuota(ctx context.Context, r *recipient) *smtp.Reply {
	checker, ok := c.srv.deliver.(QuotaChecker)
	if !ok || !c.srv.set.RcptCheckQuota {
		return nil
	}
	err := checker.CheckQuota(ctx, r.user)
	if err == nil {
		return nil
	}
	reply := smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "Temporary internal error"}
	var known *store.Error
	if errors.As(err, &known) && known.Code == store.CodeOverQuota {
		reply = c.srv.failure(err)
	} else {
		c.srv.log.Errorf("user %s: quota check failed: %v", r.user.Username, err)
	}
	reply.Text = "<" + r.address + "> " + reply.Text
	return &reply
}

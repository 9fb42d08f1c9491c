package lmtp

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// save delivers the message to one recipient and returns the answer for it.
func (c *session) save(ctx context.Context, r *recipient) smtp.Reply {
	env := Envelope{Sender: c.mail.sender, Recipient: r.address, Session: r.session, HeaderLen: c.mail.headerLen}
	if r.orcpt != "" {
		env.Recipient = r.orcpt
	}
	// A delivery that has begun is finished even if the server has to stop.
	err := c.srv.deliver.Deliver(context.WithoutCancel(ctx), r.user, r.detail, env, c.mail.body)
	if err == nil {
		return smtp.Reply{Code: 250, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "<" + r.address + "> " + r.session + " Saved"}
	}
	reply := c.srv.failure(err)
	reply.Text = "<" + r.address + "> " + reply.Text
	return reply
}

// failure is the answer to a delivery that failed.
func (s *Server) failure(err error) smtp.Reply {
	if errors.Is(err, mailbox.ErrNoSpace) {
		return smtp.Reply{Code: 452, Enhanced: smtp.Enhanced{4, 3, 1}, Text: noSpace}
	}
	var known *store.Error
	switch {
	case !errors.As(err, &known):
		s.log.Errorf("delivery failed: %v", err)
		return replyInternal
	case known.Code == store.CodeOverQuota && s.set.QuotaFullTempfail:
		return smtp.Reply{Code: 452, Enhanced: smtp.Enhanced{4, 2, 2}, Text: known.Text}
	case known.Code == store.CodeOverQuota:
		return smtp.Reply{Code: 552, Enhanced: smtp.Enhanced{5, 2, 2}, Text: known.Text}
	}
	return smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 2, 0}, Text: known.Text}
}

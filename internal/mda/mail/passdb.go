package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/user"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

var _ lmtp.Passdb = (*userdb)(nil)

// Fields implements [lmtp.Passdb].
func (u *userdb) Fields(ctx context.Context, username string, from lmtp.Peer) ([]string, error) {
	found, err := u.auth.Pass(ctx, username, client.Lookup{
		Service: "lmtp", Local: addrPortOf(from.Local), Remote: addrPortOf(from.Remote), Session: from.Session, Secured: from.Secured, ForwardFields: from.Forward,
	})
	var refused *client.Failure
	switch {
	case errors.Is(err, client.ErrUnknownUser):
		return nil, lmtp.ErrUnknownUser
	case errors.As(err, &refused) && refused.Reason != "":
		return nil, smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: refused.Reason}
	case err != nil:
		return nil, err
	}
	fields := make([]string, len(found))
	for i, f := range found {
		fields[i] = f.Name + "=" + f.Value
	}
	return fields, nil
}

// addrPortOf is the address of a TCP connection's end, invalid for a UNIX-domain socket's.
func addrPortOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// mailOwner is who owns the mail of users to whom the userdb gives no uid.
func mailOwner(set *Settings) (uid, gid int, err error) {
	owner, err := user.Lookup(set.MailUID)
	if err != nil {
		owner, err = user.LookupId(set.MailUID)
	}
	if err != nil {
		if uid, err = strconv.Atoi(set.MailUID); err != nil {
			return -1, -1, fmt.Errorf("mail_uid = %s: no such user", set.MailUID)
		}
		owner = &user.User{Gid: "-1"}
	} else if uid, err = strconv.Atoi(owner.Uid); err != nil {
		return -1, -1, fmt.Errorf("mail_uid = %s: %w", set.MailUID, err)
	}
	if set.MailGID != "" {
		owner.Gid = set.MailGID
		if group, err := user.LookupGroup(set.MailGID); err == nil {
			owner.Gid = group.Gid
		}
	}
	if gid, err = strconv.Atoi(owner.Gid); err != nil {
		return -1, -1, fmt.Errorf("mail_gid = %s: no such group", set.MailGID)
	}
	return uid, gid, nil
}

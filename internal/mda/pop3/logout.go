package pop3

import (
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// logEnd writes the line that ends the session: why, and pop3_logout_format.
func (c *session) logEnd() {
	text, err := dovecot.ExpandVars(c.set.LogoutFormat, c.logoutVars())
	if err != nil {
		c.log.Errorf("pop3_logout_format: %v", err)
	}
	c.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(append(b, "Disconnected: "...), c.ended...)
		return append(append(b, ' '), text...)
	})
}

func (c *session) logoutVars() *dovecot.Vars {
	s := &c.stats
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	count := func(n int) string { return strconv.Itoa(n) }
	deleted, deletedBytes := count(s.deletedCount), num(s.deletedBytes)
	if c.ended != endLogout {
		deleted, deletedBytes = "0", "0" // nothing was
	}
	return &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'i', Name: "input", Value: num(s.input)},
		{Key: 'o', Name: "output", Value: num(c.out.sent)},
		{Key: 't', Name: "top_count", Value: count(s.topCount)},
		{Key: 'p', Name: "top_bytes", Value: num(s.topBytes)},
		{Key: 'r', Name: "retr_count", Value: count(s.retrCount)},
		{Key: 'b', Name: "retr_bytes", Value: num(s.retrBytes)},
		{Key: 'd', Name: "deleted_count", Value: deleted},
		{Key: 'm', Name: "message_count", Value: count(s.total)},
		{Key: 's', Name: "message_bytes", Value: num(s.totalBytes)},
		{Name: "deleted_bytes", Value: deletedBytes},
		{Name: "uidl_change"},
		{Name: "session", Value: c.id},
	}}
}

package doveadm

import (
	"net/netip"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/anvil"
)

// runPenalty shows which addresses have to wait after failed logins.
func runPenalty(in *invocation) error {
	var net netip.Prefix
	if mask, ok := in.text("netmask"); ok {
		if net, ok = parseRange(mask); !ok {
			return withStatus(exUsage, "Invalid netmask '%s' given", mask)
		}
	}
	c, err := in.dialAnvil()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, title := range []string{"IP", "penalty", "last_penalty", "last_update"} {
		in.column(title, 0)
	}
	err = c.Penalties(func(p anvil.Penalty) {
		if !net.IsValid() || net.Contains(p.IP) {
			in.row(ipText(p.IP), strconv.Itoa(p.Count), p.Last.Format("2006-01-02 15:04:05"), p.Updated.Format("15:04:05"))
		}
	})
	if err != nil {
		return fatalf(exTempFail, "%v", err)
	}
	return nil
}

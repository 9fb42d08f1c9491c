package doveadm

import (
	"context"
	"errors"
	"strconv"
)

// The commands about quota.
var quotaCommands = []*command{
	{name: "quota get", format: "table", params: mailParams(), mail: prepareQuotaGet},
	{name: "quota recalc", params: mailParams(), mail: prepareQuotaRecalc},
}

// errNoQuota says that the user has no quota.
var errNoQuota = withStatus(exNotFound, "Quota not enabled")

func prepareQuotaGet(in *invocation) (runFunc, error) {
	in.titled("root", "Quota name", 0)
	in.titled("type", "Type", 0)
	in.titled("value", "Value", right)
	in.titled("limit", "Limit", right)
	in.titled("percent", "%", right)
	return func(ctx context.Context, u *mailUser) error {
		if !u.HasQuota() {
			return errNoQuota
		}
		var failed error
		for _, r := range u.QuotaRoots() {
			list, err := r.Resources(ctx)
			if err != nil {
				failed = errors.Join(failed, withStatus(exTempFail, "Failed to get quota resource STORAGE: %v", err))
				for _, name := range [...]string{"STORAGE", "MESSAGE"} {
					u.printAll(r.Name, name, "error", "error", "error")
				}
			}
			for _, res := range list {
				limit, percent := "-", int64(0)
				if res.Limit > 0 {
					limit, percent = strconv.FormatInt(res.Limit, 10), percentOf(res.Value, res.Limit)
				}
				u.printAll(r.Name, res.Name, strconv.FormatInt(res.Value, 10), limit, strconv.FormatInt(percent, 10))
			}
		}
		return failed
	}, nil
}

// percentOf returns how many hundredths of the whole a part is.
func percentOf(part, whole int64) int64 { return part/whole*100 + part%whole*100/whole }

func (u *mailUser) printAll(values ...string) {
	for _, v := range values {
		u.print(v)
	}
}

func prepareQuotaRecalc(*invocation) (runFunc, error) {
	return func(ctx context.Context, u *mailUser) error {
		if !u.HasQuota() {
			return errNoQuota
		}
		for _, r := range u.QuotaRoots() {
			if err := r.Recalculate(ctx); err != nil {
				// As with the original it is reported, and the status is that of success.
				u.in.log.errorf("Recalculating quota failed: %v", err)
			}
		}
		return nil
	}, nil
}

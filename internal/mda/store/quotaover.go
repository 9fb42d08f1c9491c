package store

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// overFlag is what the userdb said of a root: a script makes it say so, or no more so, if that is not so.
type overFlag struct {
	script string // to run
	flag   string // what the userdb says, the last argument of the script
	over   bool   // which means that the user is over quota
	lazy   bool   // checked only when somebody asks for the usage
}

// readOver reads the settings quota_over_*. It returns nil if there is nothing to check.
func (q *userQuota) readOver(r *quotaRoot) (*overFlag, error) {
	set, err := q.u.plugin()
	if err != nil {
		return nil, err
	}
	o := &overFlag{}
	var mask string
	for _, s := range [...]struct {
		name string
		into *string
		must bool
	}{{"_over_script", &o.script, true}, {"_over_flag_value", &mask, true}, {"_over_flag", &o.flag, false}} {
		value, ok, err := set.get(r.Setting + s.name)
		if err != nil || !ok && s.must {
			return nil, err
		}
		if *s.into = value; ok && !s.must {
			o.over = acl.Match(strings.ToLower(mask), strings.ToLower(value))
		}
	}
	o.lazy, err = set.getBool(r.Setting + "_over_flag_lazy_check")
	return o, err
}

// checkOver compares usage and flag of all roots where that is due when a user is opened.
func (u *User) checkOver(ctx context.Context) error {
	if u.quota == nil || u.info.Restored { // as Dovecot: the script ran at the login
		return nil
	}
	for _, r := range u.quota.roots {
		var err error
		if r.over, err = u.quota.readOver(r); err != nil {
			return err
		}
		if r.over != nil && !r.over.lazy {
			u.quota.checkOver(ctx, r)
		}
	}
	return nil
}

// checkOver runs the script of a root if usage and flag disagree. It does so once.
func (q *userQuota) checkOver(ctx context.Context, r *quotaRoot) {
	if r.over == nil {
		return
	}
	r.overOnce.Do(func() {
		list, err := (&QuotaRoot{q: q, r: r}).resources(ctx)
		if err != nil {
			q.u.log.Errorf("quota: Quota STORAGE lookup failed - can't verify quota_over_flag: %v", err)
			return
		}
		over := false
		for _, res := range list {
			over = over || res.Limit > 0 && res.Value >= res.Limit
		}
		if over != r.over.over {
			words := strings.Fields(r.over.script)
			if r.over.flag != "" {
				words = append(words, r.over.flag)
			}
			ctx := context.WithoutCancel(ctx)
			q.u.background.Go(func() { q.execute(ctx, words) })
		}
	})
}

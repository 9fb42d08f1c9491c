package doveadm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// An identity is what becomes of this process while it works for a user.
type identity struct {
	changed bool
	groups  []int // before
}

// info finds out who a user is: from the userdb, or from the environment if no
// option selects users. errNoUser if there is no such user.
func (r *mailRun) info(name string) (*store.UserInfo, error) {
	info := &store.UserInfo{Username: name, UID: -1, GID: -1, Service: "doveadm"}
	if r.lookup {
		var err error
		if info, err = r.users.user(name); err != nil {
			return nil, err
		}
	} else {
		info.Home = os.Getenv("HOME")
	}
	if info.UID == 0 {
		return nil, errors.New("User lookup failed: Invalid settings in userdb: userdb returned 0 as uid")
	}
	if _, ok := info.Fields["chroot"]; ok {
		return nil, errors.New("User lookup failed: Invalid settings in userdb: chroot is not supported")
	}
	return info, r.complete(info)
}

// complete fills in what the userdb has not said, from settings, and checks the
// limits of uid and gid.
func (r *mailRun) complete(info *store.UserInfo) error {
	set, err := r.permit(info)
	if err != nil {
		return err
	}
	if info.Home == "" && set.MailHome != "" {
		if info.Home, err = dovecot.ExpandVars(set.MailHome, mail.Vars(info)); err != nil {
			return fmt.Errorf("Failed to expand mail_home '%s': %w", set.MailHome, err)
		}
	}
	if info.Home != "" && !filepath.IsAbs(info.Home) {
		return fmt.Errorf("Relative home directory paths not supported: %s", info.Home)
	}
	return nil
}

// permit fills in uid and gid, and checks their limits. It returns the settings that say so.
func (r *mailRun) permit(info *store.UserInfo) (*mail.Settings, error) {
	f := dovecot.Filter{Service: "doveadm"}
	set, err := dovecot.Get[mail.Settings](r.in.cfg, f)
	if err != nil {
		return nil, err
	}
	core, err := dovecot.Get[dovecot.Master](r.in.cfg, f)
	if err != nil {
		return nil, err
	}
	if info.UID, err = permitted("UID", info.UID, set.MailUID, core.FirstValidUID, core.LastValidUID, lookupUID); err != nil {
		return nil, err
	}
	if info.GID, err = permitted("GID", info.GID, set.MailGID, core.FirstValidGID, core.LastValidGID, master.LookupGroup); err != nil {
		return nil, err
	}
	return set, nil
}

func lookupUID(name string) (int, error) {
	uid, _, err := master.LookupUser(name)
	return uid, err
}

// permitted returns the uid or gid of the userdb, or that of a setting, if it is
// within the limits. -1 if neither says.
func permitted(what string, id int, setting string, first, last uint32, lookup func(string) (int, error)) (int, error) {
	lower := strings.ToLower(what)
	source := "userdb lookup"
	if id < 0 {
		if setting == "" {
			return -1, nil
		}
		source = "mail_" + lower + " setting"
		var err error
		if id, err = lookup(setting); err != nil {
			kind := map[string]string{"UID": "user", "GID": "group"}[what]
			return -1, fmt.Errorf("Unknown UNIX %s %s: %s (from %s)", what, kind, setting, source)
		}
	}
	if uint32(id) < first || last != 0 && uint32(id) > last {
		return -1, fmt.Errorf("Mail access for users with %s %d not permitted (see first_valid_%s in config file, %s from %s).",
			what, id, lower, lower, source)
	}
	return id, nil
}

// become makes this process the user: for good if there is only one, and no mail of others that might have to be
// recovered.
func (r *mailRun) become(info *store.UserInfo) error {
	if os.Geteuid() == 0 {
		if info.UID < 0 {
			return errors.New("Couldn't drop privileges: User is missing UID (see mail_uid setting)")
		}
		if info.GID < 0 {
			return errors.New("Couldn't drop privileges: User is missing GID (see mail_gid setting)")
		}
		groups, err := r.groups(info)
		var shares bool
		if err == nil {
			shares, err = store.Shares(r.in.cfg, dovecot.Filter{Service: "doveadm"})
		}
		if err == nil {
			err = r.identity.take(info, groups, r.several || shares || r.in.client != nil)
		}
		if err != nil {
			return fmt.Errorf("Couldn't drop privileges: %w", err)
		}
	} else if err := notOther(info); err != nil {
		return err
	}
	r.goHome(info)
	return nil
}

// notOther refuses to work for a user whom this unprivileged process cannot become.
func notOther(info *store.UserInfo) error {
	if info.GID >= 0 && info.GID != os.Getegid() {
		if groups, err := os.Getgroups(); err != nil || !slices.Contains(groups, info.GID) {
			return fatalf(exTempFail, "setgid(%d from userdb lookup) failed with euid=%d, gid=%d, egid=%d: Operation not permitted (This binary should probably be called with process group set to %d instead of %d)",
				info.GID, os.Geteuid(), os.Getgid(), os.Getegid(), info.GID, os.Getegid())
		}
	}
	if info.UID >= 0 && info.UID != os.Geteuid() {
		return fatalf(exTempFail, "setuid(%d from userdb lookup) failed with euid=%d: Operation not permitted (This binary should probably be called with process user set to %d instead of %d)",
			info.UID, os.Geteuid(), info.UID, os.Geteuid())
	}
	if info.UID < 0 {
		info.UID = os.Geteuid()
	}
	if info.GID < 0 {
		info.GID = os.Getegid()
	}
	return nil
}

// groups are the supplementary groups of a user: mail_access_groups,
// mail_privileged_group and those of the system user that the userdb names.
func (r *mailRun) groups(info *store.UserInfo) ([]int, error) {
	set, err := dovecot.Get[mail.Settings](r.in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, err
	}
	groups := []int{info.GID}
	names := strings.FieldsFunc(set.MailAccessGroups, func(c rune) bool { return c == ' ' || c == ',' })
	if set.MailPrivilegedGroup != "" {
		names = append(names, set.MailPrivilegedGroup)
	}
	for _, name := range names {
		gid, err := master.LookupGroup(name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, gid)
	}
	if name := info.Fields["system_groups_user"]; name != "" {
		more, err := systemGroups(name)
		if err != nil {
			return nil, fmt.Errorf("initgroups(%s, %d) failed: %w", name, info.GID, err)
		}
		groups = append(groups, more...)
	}
	return groups, nil
}

// take changes groups, group and user: of the whole process, with all its
// threads, which package syscall sees to.
func (id *identity) take(info *store.UserInfo, groups []int, temporary bool) error {
	before, err := syscall.Getgroups()
	if err != nil {
		return err
	}
	id.groups, id.changed = before, temporary
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("setgroups(%v) failed: %w", groups, err)
	}
	uid, gid, keep := info.UID, info.GID, -1
	if !temporary {
		if err := syscall.Setresgid(gid, gid, gid); err != nil {
			return fmt.Errorf("setgid(%d) failed: %w", gid, err)
		}
		if err := syscall.Setresuid(uid, uid, uid); err != nil {
			return fmt.Errorf("setuid(%d) failed: %w", uid, err)
		}
		return nil
	}
	if err := syscall.Setresgid(keep, gid, keep); err != nil {
		return fmt.Errorf("setegid(%d) failed: %w", gid, err)
	}
	if err := syscall.Setresuid(keep, uid, keep); err != nil {
		return fmt.Errorf("seteuid(%d) failed: %w", uid, err)
	}
	return nil
}

// restore makes this process root again after it worked for one of several users.
func (r *mailRun) restore() {
	if !r.identity.changed {
		return
	}
	r.identity.changed = false
	err := syscall.Setresuid(-1, 0, -1)
	if err == nil {
		err = syscall.Setresgid(-1, 0, -1)
	}
	if err == nil {
		err = syscall.Setgroups(r.identity.groups)
	}
	if err != nil {
		panic("doveadm: cannot become root again: " + strconv.Quote(err.Error()))
	}
}

// goHome changes to the home directory, so that relative names in arguments are
// there, or to the root if there is none.
func (r *mailRun) goHome(info *store.UserInfo) {
	if info.Home != "" {
		os.Setenv("HOME", info.Home) //nolint:errcheck // cannot fail for a fixed name
	}
	if r.several || r.in.client != nil {
		return // as Dovecot: paths in arguments mean the same for all users
	}
	if info.Home != "" {
		err := os.Chdir(info.Home)
		if err == nil {
			return
		}
		if !errors.Is(err, os.ErrNotExist) {
			r.in.log.errorf("chdir(%s) failed: %s", info.Home, reason(err))
		}
	}
	if err := os.Chdir("/"); err != nil {
		r.in.log.errorf("chdir(/) failed: %s", reason(err))
	}
}

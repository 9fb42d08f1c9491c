package asuser

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mailbox delivers to the mailbox of a user, wherever the configuration has it.
func (o *operation) mailbox() (*os.File, error) {
	u, err := o.named()
	if err != nil {
		return nil, err
	}
	set := o.service.set
	j := &job{
		Copy: o.req.Copy, Locks: o.service.local, Limit: set.SizeLimit, Owner: int64(u.UID), Strict: set.StrictOwnership, DSN: "5.2.0",
	}
	if o.pool.single && int(u.UID) != os.Geteuid() {
		j.Owner = -1
	}
	as := u.rights()
	path := ""
	switch {
	case set.HomeMailbox != "":
		path = u.Home + "/" + set.HomeMailbox
	case strings.HasSuffix(set.SpoolDirectory, "/"):
		path = set.SpoolDirectory + u.Name + "/"
	default:
		path = set.SpoolDirectory + "/" + u.Name
		as = o.spoolRights(u, j)
	}
	j.Do, j.Paths = kindOf(path, "mbox"), []string{path}
	return nil, o.deliver(as, j)
}

// spoolRights is who delivers to a file in mail_spool_directory. Where everybody or
// a group may write there it is the user, with that group; else root must make the
// file, and gives it to the user.
func (o *operation) spoolRights(u *User, j *job) rights {
	var st unix.Stat_t
	switch err := unix.Stat(o.service.set.SpoolDirectory, &st); {
	case o.pool.single || err != nil || st.Mode&unix.S_IWOTH != 0:
		return u.rights()
	case st.Mode&unix.S_IWGRP != 0:
		return rights{u.UID, st.Gid}
	}
	if u.UID != 0 {
		j.Chown = &[2]uint32{u.UID, u.GID}
	}
	return rights{}
}

// virtual delivers to a virtual mailbox.
func (o *operation) virtual() (*os.File, error) {
	set := o.service.set
	base, err := VirtualBase(o.service.Main)
	if err != nil {
		return nil, err
	}
	base = strings.TrimRight(base, "/") + "/"
	path := o.req.Path
	switch {
	case !strings.HasPrefix(path, base) || slices.Contains(strings.Split(path, "/"), ".."):
		return nil, fmt.Errorf("%s is not below virtual_mailbox_base", path)
	case int64(o.req.UID) < int64(set.VirtualMinimumUID):
		return nil, fmt.Errorf("uid %d is smaller than virtual_minimum_uid", o.req.UID)
	case o.req.GID == 0:
		return nil, errors.New("gid 0 is not for mailboxes")
	}
	j := &job{
		Do: kindOf(path, "mbox"), Paths: []string{path}, Copy: o.req.Copy, Locks: o.service.virtual, Limit: set.VirtualSizeLimit,
		Owner: int64(o.req.UID), Strict: set.StrictOwnership, DSN: "4.2.0",
	}
	if o.pool.single && int(o.req.UID) != os.Geteuid() {
		j.Owner = -1
	}
	return nil, o.deliver(rights{o.req.UID, o.req.GID}, j)
}

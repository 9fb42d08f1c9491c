package master

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// setIdentity changes groups, group and user of all threads. The syscall
// package is used on purpose: it applies the change to every thread of the
// process, golang.org/x/sys/unix to the calling one.
func setIdentity(id Identity) error {
	if err := syscall.Setgroups(id.Groups); err != nil {
		return fmt.Errorf("setgroups(%v) failed: %w", id.Groups, err)
	}
	if err := syscall.Setgid(id.GID); err != nil {
		return fmt.Errorf("setgid(%d) failed: %w", id.GID, err)
	}
	if err := syscall.Setuid(id.UID); err != nil {
		return fmt.Errorf("setuid(%d) failed: %w", id.UID, err)
	}
	return nil
}

// LookupUser returns the uid and gid of a user given by name or number.
func LookupUser(name string) (uid, gid int, err error) {
	if n, err := strconv.Atoi(name); err == nil {
		u, err := user.LookupId(name)
		if err != nil {
			return n, -1, nil
		}
		gid, _ := strconv.Atoi(u.Gid)
		return n, gid, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, fmt.Errorf("user %s: %w", name, err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, nil
}

// LookupGroup returns the gid of a group given by name or number.
func LookupGroup(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}

// UserIdentity returns the identity of a user, with the given further groups
// and root directory; in a service of a single user, the present one.
func UserIdentity(name, group string, extraGroups []string, chroot string) (Identity, error) {
	if SingleUser() {
		return Identity{}, nil
	}
	id := Identity{Change: true, Chroot: chroot}
	var err error
	if id.UID, id.GID, err = LookupUser(name); err != nil {
		return id, err
	}
	if group != "" {
		if id.GID, err = LookupGroup(group); err != nil {
			return id, err
		}
	}
	id.Groups = []int{id.GID}
	for _, g := range extraGroups {
		gid, err := LookupGroup(g)
		if err != nil {
			return id, err
		}
		id.Groups = append(id.Groups, gid)
	}
	return id, nil
}

// SingleUserVariable makes a service run as the user who started it, also if
// that is root, when it is set in the environment: for trying it out.
const SingleUserVariable = "DOVETAIL_SINGLE_USER"

// SingleUser reports whether all processes run as the same user: without root
// there is no other way.
func SingleUser() bool {
	return os.Geteuid() != 0 || os.Getenv(SingleUserVariable) != ""
}

// Become makes this process run as id, for good: for commands that touch what a
// service owns.
func Become(id Identity) error {
	if !id.Change {
		return nil
	}
	return setIdentity(id)
}

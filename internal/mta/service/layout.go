package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// InstallSettings are the parameters about where things are.
type InstallSettings struct {
	CommandDirectory  string `set:"command_directory" default:"/usr/sbin" nonempty:"yes" doc:"directory with the administrative commands"`
	DataDirectory     string `set:"data_directory" default:"/var/lib/postfix" nonempty:"yes" doc:"directory of $mail_owner for what is not mail"`
	InstanceDirs      string `set:"multi_instance_directories" doc:"configuration directories of the secondary instances"`
	InstanceWrapper   string `set:"multi_instance_wrapper" doc:"command that runs postfix(1) for all instances"`
	MaillogCompressor string `set:"maillog_file_compressor" default:"gzip" nonempty:"yes" doc:"program that packs a rotated log file"`
	MaillogSuffix     string `set:"maillog_file_rotate_suffix" default:"%Y%m%d-%H%M%S" nonempty:"yes" doc:"date(1) format of the suffix of a rotated log file"`
}

var _ = postfix.Register("postfix", InstallSettings{})

// owners are who the files of the mail system belong to.
type owners struct {
	mail  int // uid of mail_owner
	group int // gid of setgid_group
}

func findOwners(core *postfix.Core) (owners, error) {
	uid, _, err := master.LookupUser(core.MailOwner)
	if err != nil {
		return owners{}, err
	}
	gid, err := master.LookupGroup(core.SetgidGroup)
	return owners{uid, gid}, err
}

// An object is a directory or file of the mail system, with who should own it.
type object struct {
	path  string
	uid   int
	gid   int // -1: any
	mode  fs.FileMode
	file  bool // may be missing
	empty bool // need not be made: left by Postfix
}

// layout is what Postfix's table postfix-files has, as far as it is used here.
func (v *invocation) layout(o owners) []object {
	q := func(name string) string { return filepath.Join(v.core.QueueDirectory, name) }
	all := []object{
		{path: v.dir, mode: 0o755, gid: -1},
		{path: v.install.DataDirectory, uid: o.mail, mode: 0o700, gid: -1},
		{path: v.core.QueueDirectory, mode: 0o755, gid: -1},
		{path: q("pid"), mode: 0o755, gid: -1},
		{path: q("private"), uid: o.mail, mode: 0o700, gid: -1},
		{path: q("segments"), uid: o.mail, mode: 0o700, gid: -1},
		{path: q("maildrop"), uid: o.mail, gid: o.group, mode: 0o730},
		{path: q("public"), uid: o.mail, gid: o.group, mode: 0o710},
		{path: q("tools"), uid: o.mail, mode: 0o755, gid: -1},
	}
	for _, name := range postfixQueues {
		all = append(all, object{path: q(name), uid: o.mail, mode: 0o700, gid: -1, empty: true})
	}
	if !v.secondary() {
		all = append(all, object{path: filepath.Join(v.install.CommandDirectory, "postdrop"), gid: o.group, mode: 0o755 | fs.ModeSetgid, file: true})
	}
	return all
}

// postfixQueues are directories of Postfix's queue. They are there where Postfix ran.
var postfixQueues = []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace"}

// secondary reports whether this is one of several instances, but not the first: then
// the commands are not its own.
func (v *invocation) secondary() bool {
	if v.dir == defaultConfigDirectory {
		return false
	}
	main, err := postfix.Load(defaultConfigDirectory)
	if err != nil {
		return false
	}
	first, err := postfix.Get[InstallSettings](main)
	if err != nil {
		return false
	}
	for _, dir := range postfix.SplitList(first.InstanceDirs) {
		if dir == v.dir {
			return true
		}
	}
	return false
}

// setPermissions makes missing directories, and gives everything its owner and mode.
func (v *invocation) setPermissions() int {
	o, err := findOwners(v.core)
	if err != nil {
		return v.fatal(err.Error())
	}
	for _, obj := range v.layout(o) {
		if err := obj.set(); err != nil {
			return v.fatal(err.Error())
		}
	}
	return 0
}

// set makes the object as it should be. Links are not followed.
func (obj *object) set() error {
	var st syscall.Stat_t
	err := syscall.Lstat(obj.path, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (obj.file || obj.empty):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(obj.path, obj.mode.Perm()); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("%s: %w", obj.path, err)
	case st.Mode&syscall.S_IFMT == syscall.S_IFLNK:
		return nil
	}
	if err := os.Lchown(obj.path, obj.uid, obj.gid); err != nil {
		return err
	}
	return os.Chmod(obj.path, obj.mode)
}

// upgradeConfiguration has nothing to change: services that Postfix adds to an old
// master.cf are parts of one process here.
func (v *invocation) upgradeConfiguration() int {
	if status := v.setPermissions(); status != 0 {
		return status
	}
	v.info("the configuration needs no upgrade: main.cf and master.cf are left as they are")
	return 0
}

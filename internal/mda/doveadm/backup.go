package doveadm

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

const backupUsage = "[-l <secs>] [-r <rawlog path>] [-m <mailbox>] [-g <mailbox guid>] [-n <namespace> | -N] [-x <exclude>] [-a <all mailbox>] " +
	"[-s <state>] [-T <secs>] [-t <start date>] [-e <end date>] [-O <sync flag>] [-I <max size>] -d|<dest>"

// backup makes the mail at another location of this host equal to the user's, or the
// reverse; sync -1 adds to it only. Both are Dovecot's dsync without a partner that
// could have changes of its own.
var (
	backupCommand = backingUp("backup", "[-fPRU] ")
	syncCommand   = backingUp("sync", "[-1fPRU] ")
)

func backingUp(name, letters string) *command {
	return &command{
		name: name, usage: letters + backupUsage, format: "flow",
		ownUsage: true,
		params: mailParams(
			flag('1', "oneway"), flag('f', "full-sync"), flag('P', "purge-remote"), flag('R', "reverse-sync"), flag('U', "replicator-notify"),
			flag('E', "legacy-dsync"), option('l', "lock-timeout"), option('r', "rawlog"), option('m', "mailbox"), option('g', "mailbox-guid"),
			options('n', "namespace"), flag('N', "all-namespaces"), options('x', "exclude-mailbox"), option('a', "all-mailbox"),
			option('s', "state"), option('T', "timeout"), option('t', "sync-since-time"), option('e', "sync-until-time"),
			option('O', "sync-flags"), option('I', "sync-max-size"), flag('d', "default-destination"), arguments("destination"),
		),
		mail: func(in *invocation) (runFunc, error) { return prepareBackup(in, name == "backup") },
	}
}

// A backup is what is to be made equal to what.
type backup struct {
	dest    string // location; "" for that of mail_replica
	reverse bool
	add     bool // nothing is removed
	both    bool // changes of either side are wanted in the other
	visible bool // shared and public namespaces take part
	purge   bool
	lock    time.Duration // how long to wait for the lock of the user; negative for no lock

	only       string // mailbox
	guid       string // only the one with this GUID
	noMail     bool   // mailboxes and subscriptions, not messages
	exclude    []string
	namespaces []string // by prefix; none for those at mail_location

	filter messageFilter
}

func prepareBackup(in *invocation, whole bool) (runFunc, error) {
	bk := &backup{
		add: in.set("oneway"), reverse: in.set("reverse-sync"), purge: in.set("purge-remote"), lock: -1,
		exclude: in.array("exclude-mailbox"), namespaces: in.array("namespace"),
	}
	words := in.array("destination")
	switch {
	case in.set("default-destination"):
		if len(words) > 0 {
			in.log.errorf("Don't give mail location with -d parameter")
		}
	case len(words) == 0:
		return nil, errUsage
	case len(words) > 1 || isRemote(words[0]):
		return nil, remoteDestination(strings.Join(words, " "))
	default:
		bk.dest = words[0]
	}
	if err := bk.options(in); err != nil {
		return nil, err
	}
	bk.both, bk.visible = !whole && !bk.add, in.set("all-namespaces")
	in.column("state", hidden)
	return bk.run, nil
}

// isRemote reports whether a destination is another host or a command.
func isRemote(dest string) bool {
	driver, _, ok := strings.Cut(dest, ":")
	return !ok || strings.ContainsAny(driver, " /@") || slices.Contains([]string{"remote", "remoteprefix", "tcp", "tcps"}, driver)
}

func remoteDestination(dest string) error {
	return fatalf(exTempFail, "synchronizing with another host or command (%s) is not supported by this version of Dovetail; "+
		"give a location on this host, such as mdbox:~/mdbox", dest)
}

// unsupported are the options that only mean something to dsync's protocol.
var unsupported = []struct{ name, letter string }{{"rawlog", "r"}, {"state", "s"}}

func (bk *backup) options(in *invocation) error {
	for _, o := range unsupported {
		if in.set(o.name) {
			return fatalf(exTempFail, "-%s is not supported by this version of Dovetail", o.letter)
		}
	}
	if text, ok := in.text("lock-timeout"); ok {
		secs, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fatalf(exTempFail, "Invalid -l parameter: %s", text)
		}
		bk.lock = time.Duration(secs) * time.Second
	}
	if text, ok := in.text("timeout"); ok {
		if _, err := strconv.ParseUint(text, 10, 31); err != nil {
			return fatalf(exTempFail, "Invalid -T parameter: %s", text)
		}
	}
	if guid, ok := in.text("mailbox-guid"); ok {
		b, err := hex.DecodeString(guid)
		if guid != "" && (err != nil || len(b) != 16) {
			return fatalf(exTempFail, "Invalid -g parameter: %s", guid)
		}
		bk.guid, bk.noMail = strings.ToLower(guid), guid == ""
	}
	if name, ok := in.text("mailbox"); ok {
		bk.only, bk.noMail = name, bk.noMail || name == ""
	}
	return bk.filter.options(in)
}

func (bk *backup) run(ctx context.Context, u *mailUser) error {
	dest := bk.dest
	if dest == "" {
		if dest = u.replica(); dest == "" {
			return withStatus(exNotFound, "User has no mail_replica in userdb")
		}
		if isRemote(dest) {
			return remoteDestination(dest)
		}
	}
	if bk.visible {
		return fatalf(exTempFail, "-N parameter requires syncing with remote host")
	}
	if bk.both {
		return fatalf(exTempFail, "two-way synchronization is not supported by this version of Dovetail; use doveadm backup, or doveadm sync -1")
	}
	u.in.log.prefix = "dsync(" + u.name + "): "
	if bk.lock >= 0 {
		unlock, err := lockUser(ctx, u.Info().Home, bk.lock)
		if err != nil {
			return err
		}
		defer unlock()
	}
	info := *u.Info()
	info.Fields = make(map[string]string)
	for k, v := range u.Info().Fields {
		info.Fields[k] = v
	}
	delete(info.Fields, "mail_location")
	info.Fields["mail"] = dest
	err := u.withOther(ctx, &info, "", func(other *mailUser) error {
		if err := differ(u, other); err != nil {
			return err
		}
		r := &backupRun{backup: bk, src: u, dst: other}
		if bk.reverse {
			r.src, r.dst = other, u
		}
		return r.run(ctx)
	})
	return err
}

// replica is the location that mail_replica names.
func (u *mailUser) replica() string {
	if dest, ok := u.Info().Fields["mail_replica"]; ok {
		return dest
	}
	return u.Config().Plugin()["mail_replica"]
}

// differ refuses two locations that are the same, or whose mailboxes have different
// names.
func differ(a, b *mailUser) error {
	where := func(u *mailUser, kind string) string {
		path, err := u.Path("INBOX", kind)
		if err != nil {
			return ""
		}
		return path
	}
	if path := where(a, "mailbox"); path != "" && path == where(b, "mailbox") && where(a, "index") == where(b, "index") {
		return fmt.Errorf("Both source and destination mail_location points to same directory: %s (namespace prefix=\"%s\" { location } is set explicitly?)",
			a.mailboxRoot(), a.inboxPrefix())
	}
	if a.separator() != b.separator() {
		return withStatus(exNotPossible, "Mail locations must use the same virtual mailbox hierarchy separator (specify separator for the default namespace)")
	}
	return nil
}

// mailboxRoot is the directory that mailboxes are in.
func (u *mailUser) mailboxRoot() string {
	path, err := u.Path(u.inboxPrefix()+"x", "dir")
	if err != nil {
		return ""
	}
	return filepath.Dir(path)
}

func (u *mailUser) separator() byte {
	if ns, ok := u.Namespace("INBOX"); ok {
		return ns.Sep
	}
	return '/'
}

// wants reports whether a namespace takes part: one of those named, else those at
// mail_location, which are where the other user has them too, but elsewhere.
func (r *backupRun) wants(ns *store.Namespace) bool {
	if ns.Type != store.Private {
		return false
	}
	if len(r.namespaces) > 0 {
		return slices.Contains(r.namespaces, ns.Prefix)
	}
	probe := ns.Prefix + "x"
	a, errA := r.src.Path(probe, "mailbox")
	b, errB := r.dst.Path(probe, "mailbox")
	return errA != nil || errB != nil || a != b
}

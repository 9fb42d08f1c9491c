package doveadm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// accountCommands ask the auth server about users.
var accountCommands = []*command{
	{
		name: "auth cache flush", usage: "[-a <master socket path>] [<user> [...]]", format: "flow",
		params: []param{option('a', "socket-path"), arguments("user")}, plain: runCacheFlush,
	},
	{
		name: "auth lookup", usage: "[-a <userdb socket path>] [-x <auth info>] [-f field] <user> [<user> [...]]",
		params: []param{option('a', "socket-path"), options('x', "auth-info"), option('f', "field"), arguments("user")}, plain: runAuthLookup,
	},
	{
		name: "auth test", usage: "[-a <auth socket path>] [-x <auth info>] [-M <master user>] <user> [<password>]",
		params: []param{option('a', "socket-path"), options('x', "auth-info"), option('M', "master-user"), argument("user"), argument("password")},
		plain:  runAuthTest,
	},
	{
		name: "user", usage: "[-a <userdb socket path>] [-x <auth info>] [-f field] [-e <value>] [-u] <user mask> [<user mask> [...]]", format: "tab",
		params: []param{
			option('a', "socket-path"), options('x', "auth-info"), option('f', "field"), option('e', "expand-field"),
			flag('u', "userdb-only"), arguments("user-mask"),
		},
		plain: runUser,
	},
}

// An authInfo is what -x says about the login that is tried or looked up.
type authInfo struct {
	client.Lookup
	local, remote, realLocal, realRemote authAddr
}

// An authAddr is lip and lport, or rip and rport.
type authAddr struct {
	ip   netip.Addr
	port uint16
}

func (a authAddr) addrPort() netip.AddrPort {
	if !a.ip.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.ip, a.port)
}

// authInfo reads the -x options.
func (in *invocation) authInfo() (*authInfo, error) {
	info := &authInfo{Lookup: client.Lookup{Service: "doveadm"}}
	for _, word := range in.array("auth-info") {
		name, value, _ := strings.Cut(word, "=")
		if err := info.set(name, value); err != nil {
			return nil, fatalf(exTempFail, "%s: %v", name, err)
		}
	}
	info.Local, info.Remote = info.local.addrPort(), info.remote.addrPort()
	info.RealLocal, info.RealRemote = info.realLocal.addrPort(), info.realRemote.addrPort()
	return info, nil
}

func (info *authInfo) set(name, value string) error {
	if field, ok := strings.CutPrefix(name, "forward_"); ok {
		if info.ForwardFields != "" {
			info.ForwardFields += "\t"
		}
		info.ForwardFields += string(wire.AppendEscaped(nil, field)) + "=" + string(wire.AppendEscaped(nil, value))
		return nil
	}
	switch name {
	case "service":
		info.Service = value
	case "session":
		info.Session = value
	case "local_name":
		info.LocalName = value
	default:
		return info.setAddr(name, value)
	}
	return nil
}

// setAddr handles lip, rport, real_rip and so on. All else goes to auth as it is.
func (info *authInfo) setAddr(name, value string) error {
	what, isReal := strings.CutPrefix(name, "real_")
	local, remote := &info.local, &info.remote
	if isReal {
		local, remote = &info.realLocal, &info.realRemote
	}
	switch what {
	case "lip":
		return local.setIP(value)
	case "rip":
		return remote.setIP(value)
	case "lport":
		return local.setPort(value)
	case "rport":
		return remote.setPort(value)
	}
	if value != "" {
		name += "=" + value
	}
	info.Extra = append(info.Extra, name)
	return nil
}

func (a *authAddr) setIP(text string) error {
	var err error
	if a.ip, err = netip.ParseAddr(text); err != nil {
		return errors.New("Invalid ip")
	}
	return nil
}

func (a *authAddr) setPort(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return errors.New("Invalid port number")
	}
	a.port = uint16(n)
	return nil
}

// socketPath is the path of a socket of auth: that of -a, or the usual one.
func (in *invocation) socketPath(usual string) (string, error) {
	path, ok := in.text("socket-path")
	if !ok {
		path = usual
	}
	return in.baseDir(path)
}

// baseDir makes a path that is relative to base_dir absolute.
func (in *invocation) baseDir(path string) (string, error) {
	if filepath.IsAbs(path) {
		return path, nil
	}
	core, err := dovecot.Get[dovecot.Master](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return "", configError(err)
	}
	return filepath.Join(core.BaseDir, path), nil
}

// dialMaster connects to the socket that answers lookups.
func (in *invocation) dialMaster(ctx context.Context, usual string) (*client.MasterClient, error) {
	path, err := in.socketPath(usual)
	if err != nil {
		return nil, err
	}
	conn, err := client.DialMaster(ctx, "unix", path, nil)
	if err != nil {
		return nil, fatalf(exTempFail, "auth-master: connect(%s) failed: %s", path, reason(err))
	}
	return conn, nil
}

func runCacheFlush(in *invocation) error {
	ctx := context.Background()
	conn, err := in.dialMaster(ctx, "auth-master")
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := conn.FlushCache(ctx, in.array("user")...)
	if err != nil {
		return fatalf(exTempFail, "Cache flush failed: %v", err)
	}
	in.column("entries", hidden)
	in.print.print(fmt.Sprintf("%d cache entries flushed", n))
	return nil
}

// runAuthLookup shows what the passdbs know without a password.
func runAuthLookup(in *invocation) error {
	users := in.array("user")
	if len(users) == 0 {
		return errUsage
	}
	info, err := in.authInfo()
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := in.dialMaster(ctx, "auth-master")
	if err != nil {
		return err
	}
	defer conn.Close()
	only, isOne := in.text("field")
	for i, name := range users {
		fields, err := conn.Pass(ctx, name, info.Lookup)
		var refused *client.Failure
		switch {
		case errors.Is(err, client.ErrUnknownUser):
			in.stdout.put("passdb lookup: user " + name + " doesn't exist\n")
			in.log.fail(exNoUser)
			continue
		case errors.As(err, &refused) && refused.Reason != "":
			in.log.report(withStatus(exTempFail, "passdb lookup failed for %s: %s", name, refused.Reason))
			continue
		case err != nil:
			in.log.report(withStatus(exTempFail, "passdb lookup failed for %s: %v", name, err))
			continue
		}
		if isOne {
			if value, ok := fields.Get(only); ok {
				in.stdout.put(value + "\n")
			}
			continue
		}
		if i > 0 {
			in.stdout.put("\n")
		}
		in.stdout.put("passdb: " + name + "\n")
		in.putFields(fields)
	}
	return nil
}

// putFields prints fields with their names padded to one width.
func (in *invocation) putFields(fields client.Fields) {
	for _, f := range fields {
		if f.Value == "" {
			fmt.Fprintf(in.stdout, "  %-10s\n", f.Name)
			continue
		}
		fmt.Fprintf(in.stdout, "  %-10s: %s\n", f.Name, f.Value)
	}
}

func fieldText(f client.Field) string {
	if f.Value == "" {
		return f.Name
	}
	return f.Name + "=" + f.Value
}

// runUser shows users as mail processes see them, or, for a mask, their names.
func runUser(in *invocation) error {
	masks := in.array("user-mask")
	if len(masks) == 0 {
		return errUsage
	}
	info, err := in.authInfo()
	if err != nil {
		return err
	}
	if in.set("expand-field") {
		for name, letter := range map[string]string{"userdb-only": "u", "field": "f"} {
			if in.set(name) {
				in.session.print = nil
				return withStatus(exUsage, "-e can't be used with -%s", letter)
			}
		}
	}
	set, err := dovecot.Get[Settings](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return configError(err)
	}
	path, err := in.socketPath(set.AuthSocketPath)
	if err != nil {
		return err
	}
	users, err := newUserdb(in.session)
	if err != nil {
		return err
	}
	users.socket, users.lookup = path, info.Lookup
	defer users.close()
	u := &userCommand{in: in, users: users}
	defer u.finish()
	if slices.ContainsFunc(masks, func(m string) bool { return strings.ContainsAny(m, "*?") }) {
		return u.list(masks)
	}
	for i, name := range masks {
		if i > 0 && in.set("userdb-only") {
			in.stdout.put("\n")
		}
		if err := u.show(name); err != nil {
			return err
		}
	}
	return nil
}

// A userCommand is a run of doveadm user.
type userCommand struct {
	in     *invocation
	users  *userdb
	titled bool
}

// finish leaves nothing to the printer where no row was printed.
func (u *userCommand) finish() {
	if !u.titled {
		u.in.session.print = nil
	}
}

// list prints the names that match any of the masks.
func (u *userCommand) list(masks []string) error {
	hint := "*"
	if len(masks) == 1 {
		hint = masks[0]
	}
	names, err := u.users.list(hint)
	for _, name := range names {
		if slices.ContainsFunc(masks, func(m string) bool { return matchMask(strings.ToLower(name), strings.ToLower(m)) }) {
			u.in.stdout.put(name + "\n")
		}
	}
	if err != nil {
		return fatalf(exTempFail, "user listing failed")
	}
	return nil
}

// show prints what is known of a user.
func (u *userCommand) show(name string) error {
	in := u.in
	field, isField := in.text("field")
	template, isTemplate := in.text("expand-field")
	bare := in.set("userdb-only")
	if !isField && !isTemplate && !bare && !u.titled {
		u.titled = true
		in.column("field", 0)
		in.column("value", 0)
	}
	found, err := u.users.find(name)
	switch {
	case errors.Is(err, errNoUser):
		if u.titled {
			in.print.finish() // the titles, or the rows so far
			in.stdout.put("\n")
			u.titled = false
		}
		text := "userdb lookup: user " + name + " doesn't exist\n"
		if isField || isTemplate {
			fmt.Fprint(in.stderr, "\n"+text)
		} else {
			in.stdout.put(text)
		}
		in.log.fail(exNoUser)
		return nil
	case err != nil:
		in.log.fail(exTempFail)
		return nil
	case bare:
		in.stdout.put("userdb: " + name + "\n")
		in.putFields(append(client.Fields{{Name: "user", Value: found.Username}}, found.Fields...))
		return nil
	}
	fields, vars, err := in.mailFields(found)
	switch {
	case errors.Is(err, errNotPermitted): // of whom Dovecot says nothing either
		in.log.fail(exTempFail)
		return nil
	case err != nil:
		return err
	case isTemplate:
		text, err := dovecot.ExpandVars(template, vars)
		if err != nil {
			return fatalf(exTempFail, "Failed to expand %s: %v", template, err)
		}
		in.stdout.put(text + "\n")
		return nil
	case isField:
		if value, ok := fields.Get(field); ok {
			in.stdout.put(value + "\n")
		}
		return nil
	}
	for _, f := range fields {
		in.print.print(f.Name)
		in.print.print(f.Value)
	}
	return nil
}

// mailFields are the fields of a user with what the mail settings say where the userdb
// says nothing: uid, gid, home and mail first.
func (in *invocation) mailFields(found *client.User) (client.Fields, *dovecot.Vars, error) {
	set, err := dovecot.Get[mail.Settings](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, nil, configError(err)
	}
	info := mail.NewUserInfo(found)
	info.Service = "doveadm"
	if err := in.mayHaveMail(&info, set); err != nil {
		return nil, nil, err
	}
	vars := mail.Vars(&info)
	fields := client.Fields{}
	for _, f := range [...]client.Field{
		{Name: "uid", Value: set.MailUID}, {Name: "gid", Value: set.MailGID}, {Name: "home", Value: set.MailHome}, {Name: "mail", Value: in.cfg.Text("mail_location")},
	} {
		if value, ok := found.Fields.Get(f.Name); ok {
			f.Value = value
		} else if f.Value, err = dovecot.ExpandVars(f.Value, vars); err != nil {
			return nil, nil, fatalf(exTempFail, "Failed to expand %s: %v", f.Name, err)
		}
		fields = append(fields, f)
	}
	for _, f := range found.Fields {
		if !fields.Has(f.Name) {
			fields = append(fields, f)
		}
	}
	return fields, vars, nil
}

var errNotPermitted = errors.New("mail access is not permitted")

// mayHaveMail checks the limits of uid and gid.
func (in *invocation) mayHaveMail(info *store.UserInfo, set *mail.Settings) error {
	core, err := dovecot.Get[dovecot.Master](in.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return configError(err)
	}
	if _, err := permitted("UID", info.UID, set.MailUID, core.FirstValidUID, core.LastValidUID, lookupUID); err != nil {
		return errNotPermitted
	}
	if _, err := permitted("GID", info.GID, set.MailGID, core.FirstValidGID, core.LastValidGID, master.LookupGroup); err != nil {
		return errNotPermitted
	}
	return nil
}

package doveadm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
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
	local, remote authAddr
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
			return nil, fatalf(exUsage, "Invalid -x argument %s: %v", word, err)
		}
	}
	info.Local, info.Remote = info.local.addrPort(), info.remote.addrPort()
	return info, nil
}

func (info *authInfo) set(name, value string) (err error) {
	port := func(to *uint16) {
		var n uint64
		n, err = strconv.ParseUint(value, 10, 16)
		*to = uint16(n)
	}
	switch name {
	case "service":
		info.Service = value
	case "session":
		info.Session = value
	case "local_name":
		info.LocalName = value
	case "secured":
		info.Secured = true
	case "lip":
		info.local.ip, err = netip.ParseAddr(value)
	case "rip":
		info.remote.ip, err = netip.ParseAddr(value)
	case "lport":
		port(&info.local.port)
	case "rport":
		port(&info.remote.port)
	default:
		err = errors.New("unknown")
	}
	return err
}

// socketPath is the path of a socket of auth: that of -a, or the usual one.
func (in *invocation) socketPath(usual string) (string, error) {
	path, ok := in.text("socket-path")
	if !ok {
		path = usual
	}
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

// runAuthTest tries a login.
func runAuthTest(in *invocation) error {
	user, ok := in.text("user")
	if !ok {
		return errUsage
	}
	info, err := in.authInfo()
	if err != nil {
		return err
	}
	password, ok := in.text("password")
	if !ok {
		if password, err = in.askPassword("Password: "); err != nil {
			return err
		}
	}
	path, err := in.socketPath("auth-client")
	if err != nil {
		return err
	}
	ctx := context.Background()
	conn, err := client.Dial(ctx, "unix", path, client.Options{})
	if err != nil {
		return fatalf(exTempFail, "auth-client: connect(%s) failed: %s", path, reason(err))
	}
	defer conn.Close()
	request := &client.Request{
		Mechanism: "PLAIN", Service: info.Service, Local: info.Local, Remote: info.Remote, Session: info.Session,
		LocalName: info.LocalName, Secured: true, HasInitial: true,
	}
	master, authzid := user, ""
	if name, ok := in.text("master-user"); ok {
		master, authzid = name, user
	}
	request.Initial = []byte(authzid + "\x00" + master + "\x00" + password)
	result, err := conn.Authenticate(ctx, request, func([]byte) ([]byte, error) { return nil, client.ErrAborted })
	var refused *client.Failure
	switch {
	case err == nil:
		in.stdout.put("passdb: " + user + " auth succeeded\nextra fields:\n")
		for _, f := range result.Fields {
			in.stdout.put("  " + fieldText(f) + "\n")
		}
		return nil
	case errors.As(err, &refused):
		in.stdout.put("passdb: " + user + " auth failed\nextra fields:\n  user=" + refused.User + "\n")
		if refused.Code != "" {
			in.stdout.put("  code=" + refused.Code + "\n")
		}
		if refused.Reason != "" {
			in.stdout.put("  reason=" + refused.Reason + "\n")
		}
		return exitStatus(exNoPerm)
	}
	return fatalf(exTempFail, "%v", err)
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
	for _, mask := range masks {
		if strings.ContainsAny(mask, "*?") {
			err = u.list(mask)
		} else {
			err = u.show(mask)
		}
		if err != nil {
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

// list prints the names that match a mask.
func (u *userCommand) list(mask string) error {
	names, err := u.users.list(mask)
	for _, name := range names {
		if matchMask(strings.ToLower(name), strings.ToLower(mask)) {
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
		in.stdout.put("userdb lookup: user " + name + " doesn't exist\n")
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

package db

import (
	"math/rand/v2"
	"net/netip"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/password"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// SetField adds a field of a passdb. Names that mean something have their
// effect here.
func (r *Request) SetField(field Field) {
	r.hear(field)
	r.setField(field)
}

func (r *Request) setField(field Field) {
	name, value := field.Name, field.Value
	if name, ok := strings.CutSuffix(name, ":protected"); ok {
		if r.Fields.Has(name) {
			return
		}
		field.Name = name
		r.setField(field)
		return
	}
	if name, ok := strings.CutSuffix(name, ":remove"); ok {
		if name == "nopassword" { // the password counts after all
			r.NoPassword = false
		}
		r.Fields.Remove(name)
		return
	}
	switch name {
	case "":
		return
	case "user", "username", "domain":
		if r.setUser(name, value) {
			r.hide(field)
		}
		return
	case "password":
		r.stored = value
		r.hide(field)
		return
	case "password_noscheme":
		field.Name, field.Value = "password", "{PLAIN}"+value
		r.stored = field.Value
		r.hide(field)
		return
	case "login_user":
		r.setLoginUser(value)
		r.hide(field)
		return
	case "allow_nets":
		r.checkNets(r.Remote.Addr(), value, "allow_nets")
		r.hide(field)
		return
	case "allow_real_nets":
		real := r.RealRemote.Addr()
		if !real.IsValid() {
			real = r.Remote.Addr()
		}
		r.checkNets(real, value, "allow_real_nets")
		r.hide(field)
		return
	case "fail":
		r.Failed = true
		r.hide(field)
		return
	case "delay_until":
		r.setDelayUntil(value)
		r.hide(field)
		return
	case "nopassword":
		if r.hasPassword() && !r.NoAuthenticate {
			r.Errorf("nopassword set but password is non-empty")
			return
		}
		r.NoPassword = true
		r.Fields.Set(field) // the chain removes it, where the answer is not final
		return
	case "noauthenticate":
		r.NoAuthenticate = true
		r.hide(field)
		r.Fields.Set(Field{Name: "nopassword"})
		return
	case "passdb_import":
		for item := range strings.SplitSeq(value, "\t") {
			r.setField(parseField(wire.Unescape(item)))
		}
		return
	}
	if userdbName, ok := strings.CutPrefix(name, "userdb_"); ok {
		r.setForUserdb(userdbName, field)
		return
	}
	r.Fields.Set(field)
}

// hasPassword reports whether the passdb asked has given a password so far that is not
// empty.
func (r *Request) hasPassword() bool {
	_, data := password.Split(r.stored, "")
	return data != ""
}

// hide keeps a field that is nobody else's business.
func (r *Request) hide(field Field) {
	field.Hidden = true
	r.Fields.Set(field)
}

// setForUserdb keeps a passdb's field for prefetch and the mail process.
func (r *Request) setForUserdb(name string, field Field) {
	hidden := field
	r.hide(hidden)
	r.HasUserdb = true
	field.Name = name
	r.setUserdbField(field)
}

// parseField makes a field of "name=value" or "name".
func parseField(text string) Field {
	name, value, _ := strings.Cut(text, "=")
	return Field{Name: name, Value: value}
}

// setUser changes the name that the rest of the login is about.
func (r *Request) setUser(field, value string) bool {
	if value == "" {
		r.Errorf("username attempted to be changed to empty")
		r.Failed = true
		return false
	}
	local, domain, hasDomain := strings.Cut(r.User, "@")
	user := value
	switch {
	case field == "username" && hasDomain && !strings.Contains(value, "@"):
		user = value + "@" + domain
	case field == "domain":
		user = local + "@" + value
	}
	if user != r.User {
		r.Debugf("username changed %s -> %s", r.User, user)
		r.User = user
	}
	return true
}

// setLoginUser makes the user a master user, who goes on as another once the
// passdb has found the password right. One who did so already stays who it is.
func (r *Request) setLoginUser(target string) {
	if target != "" && r.MasterUser == "" {
		r.LoginUser = target
	}
}

// maxDelay is how far ahead delay_until may be.
const maxDelay = 300 * time.Second

// setDelayUntil reads UNIXTIME or UNIXTIME+RANDOMSECONDS.
func (r *Request) setDelayUntil(value string) {
	at, spread, hasSpread := strings.Cut(value, "+")
	secs, err := strconv.ParseInt(at, 10, 64)
	var extra int64
	if err == nil && hasSpread {
		extra, err = strconv.ParseInt(spread, 10, 32)
	}
	if err != nil || secs < 0 || extra < 0 {
		r.Errorf("Invalid delay_until timestamp '%s'", value)
		r.Failed = true
		return
	}
	if extra > 0 {
		secs += rand.Int64N(extra + 1)
	}
	until := time.Unix(secs, 0)
	if time.Until(until) > maxDelay {
		r.Errorf("delay_until timestamp %s is too much in the future, failing", value)
		r.Failed = true
		return
	}
	r.DelayUntil = until
}

// checkNets refuses the login unless ip is in one of the networks.
func (r *Request) checkNets(ip netip.Addr, nets, field string) {
	allowed := false
	for net := range strings.FieldsFuncSeq(nets, func(c rune) bool { return c == ',' || c == ' ' }) {
		if allowed {
			break
		}
		r.Debugf("%s: Matching for network %s", field, net)
		if net == "local" {
			allowed = allowed || !ip.IsValid()
			continue
		}
		p, err := parseNet(net)
		if err != nil {
			r.Infof("%s: Invalid network '%s'", field, net)
			continue
		}
		allowed = allowed || (ip.IsValid() && p.Contains(ip.Unmap()))
	}
	switch {
	case allowed:
		return
	case ip.IsValid():
		r.Infof("%s check failed: IP %s not in allowed networks", field, ip)
	default:
		r.Infof("%s check failed: Remote IP not known and 'local' missing", field)
	}
	r.Failed = true
}

// parseNet reads an address or a network, whose host bits are ignored.
func parseNet(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// SetUserdbField adds a field of a userdb.
func (r *Request) SetUserdbField(field Field) {
	r.hear(field)
	r.setUserdbField(field)
}

func (r *Request) setUserdbField(field Field) {
	name, value := field.Name, field.Value
	if name, ok := strings.CutSuffix(name, ":protected"); ok {
		if r.Userdb.Has(name) {
			return
		}
		field.Name = name
		r.setUserdbField(field)
		return
	}
	if name, ok := strings.CutSuffix(name, ":remove"); ok {
		r.Userdb.Remove(name)
		return
	}
	switch name {
	case "":
		return
	case "uid":
		r.setNumber(field, lookupUID, "UID")
		return
	case "gid":
		r.setNumber(field, lookupGID, "GID")
		return
	case "tempfail":
		r.TempFail = true
		return
	case "userdb_import":
		for item := range strings.SplitSeq(value, "\t") {
			r.setUserdbField(parseField(wire.Unescape(item)))
		}
		return
	case "system_user":
		field.Name = "system_groups_user"
	case "user", "username", "domain":
		r.setUser(name, value)
		return
	case "uidgid_file":
		r.setOwner(value)
		return
	}
	r.Userdb.Set(field)
}

// setNumber sets uid or gid, given as a number or a name.
func (r *Request) setNumber(field Field, lookup func(string) (string, bool), kind string) {
	number, ok := lookup(field.Value)
	if !ok {
		r.Errorf("Invalid %s value '%s'", kind, field.Value)
		r.TempFail = true
		return
	}
	field.Value = number
	r.Userdb.Set(field)
}

// lookupUID returns the number of a user id.
func lookupUID(value string) (string, bool) {
	if isNumber(value) {
		return value, true
	}
	u, err := user.Lookup(value)
	if value == "" || err != nil {
		return "", false
	}
	return u.Uid, true
}

// lookupGID returns the number of a group id.
func lookupGID(value string) (string, bool) {
	if isNumber(value) {
		return value, true
	}
	g, err := user.LookupGroup(value)
	if value == "" || err != nil {
		return "", false
	}
	return g.Gid, true
}

func isNumber(s string) bool {
	_, ok := wire.ParseID([]byte(s))
	return ok
}

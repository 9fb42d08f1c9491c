package db

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Expand replaces the %variables of a template by what is known of the request.
func (r *Request) Expand(template string) (string, error) {
	switch {
	case template == "%u" || template == "%{user}":
		return r.User, nil
	case strings.IndexByte(template, '%') < 0:
		return template, nil
	}
	return dovecot.ExpandVars(template, r.vars(r.User))
}

// An expansion changes what a template's %variables are.
type expansion struct {
	escape func(string) string                            // of every value; nil for as they are
	dollar string                                         // %$
	lookup func(name, arg string) (value string, ok bool) // %{name:arg} that the request does not know
}

// expandWith is Expand with other variables.
func (r *Request) expandWith(template string, e expansion) (string, error) {
	if strings.IndexByte(template, '%') < 0 {
		return template, nil
	}
	vars := r.vars(r.User)
	vars.Table = append(vars.Table, dovecot.Var{Key: '$', Value: e.dollar})
	if e.escape != nil {
		for i := range vars.Table {
			vars.Table[i].Value = e.escape(vars.Table[i].Value)
		}
	}
	vars.Func = func(name, arg string) (string, bool, error) {
		value, ok, err := r.longVar(name, arg)
		if !ok && err == nil && e.lookup != nil {
			value, ok = e.lookup(name, arg)
		}
		if e.escape != nil {
			value = e.escape(value)
		}
		return value, ok, err
	}
	return dovecot.ExpandVars(template, vars)
}

// ExpandEscaped is Expand with values that escape makes safe for where they go, and with
// more variables.
func (r *Request) ExpandEscaped(template string, escape func(string) string, more map[string]string) (string, error) {
	return r.expandWith(template, expansion{escape: escape, lookup: func(name, _ string) (string, bool) {
		value, ok := more[name]
		return value, ok
	}})
}

// Normalize expands auth_username_format for a name that is not yet that of the
// request.
func (r *Request) Normalize(format, name string) (string, error) {
	switch format {
	case "", "%u":
		return name, nil
	case "%Lu":
		return lowerASCII(name), nil
	}
	return dovecot.ExpandVars(format, r.vars(name))
}

// lowerASCII is strings.ToLower for ASCII, as Dovecot's %L.
func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// vars are the variables of auth, with user for %u.
func (r *Request) vars(user string) *dovecot.Vars {
	name, domain, _ := strings.Cut(user, "@")
	cert := ""
	if r.ValidCert {
		cert = "valid"
	}
	return &dovecot.Vars{
		Table: []dovecot.Var{
			{Key: 'u', Name: "user", Value: user},
			{Key: 'n', Name: "username", Value: name},
			{Key: 'd', Name: "domain", Value: domain},
			{Key: 's', Name: "service", Value: r.Service},
			{Key: 'h', Name: "home"},
			{Key: 'l', Name: "lip", Value: addrText(r.Local)},
			{Key: 'r', Name: "rip", Value: addrText(r.Remote)},
			{Key: 'p', Name: "pid", Value: numberText(r.ClientPID)},
			{Key: 'w', Name: "password", Value: r.Password},
			{Key: '!', Value: strconv.Itoa(r.Number)},
			{Key: 'm', Name: "mech", Value: r.Mechanism},
			{Key: 'c', Name: "secured", Value: r.Secured},
			{Key: 'a', Name: "lport", Value: portText(r.Local)},
			{Key: 'b', Name: "rport", Value: portText(r.Remote)},
			{Key: 'k', Name: "cert", Value: cert},
		},
		Func: r.longVar,
	}
}

// longVar gives the value of the variables that have only long names.
func (r *Request) longVar(name, arg string) (string, bool, error) {
	switch name {
	case "passdb":
		return fieldVar(&r.Fields, arg)
	case "userdb":
		return fieldVar(&r.Userdb, arg)
	case "local_ip":
		return addrText(r.Local), true, nil
	case "remote_ip":
		return addrText(r.Remote), true, nil
	case "local_port":
		return portText(r.Local), true, nil
	case "remote_port":
		return portText(r.Remote), true, nil
	case "real_lip", "real_local_ip":
		return addrText(r.realLocal()), true, nil
	case "real_rip", "real_remote_ip":
		return addrText(r.realRemote()), true, nil
	case "real_lport", "real_local_port":
		return portText(r.realLocal()), true, nil
	case "real_rport", "real_remote_port":
		return portText(r.realRemote()), true, nil
	case "mechanism":
		return r.Mechanism, true, nil
	case "master_user":
		return r.MasterUser, true, nil
	case "session":
		return r.Session, true, nil
	case "session_pid":
		return numberText(r.SessionPID), true, nil
	case "client_id":
		return r.ClientID, true, nil
	case "local_name":
		return r.LocalName, true, nil
	case "domain_first":
		_, domain, _ := strings.Cut(r.User, "@")
		return domain, true, nil
	case "domain_last":
		return r.User[strings.LastIndexByte(r.User, '@')+1:], strings.Contains(r.User, "@"), nil
	}
	return r.otherUser(name)
}

// otherUser gives login_user, orig_user and auth_user, and their parts.
func (r *Request) otherUser(name string) (string, bool, error) {
	auth := r.MasterUser
	if auth == "" {
		auth = r.User
	}
	for _, u := range [...]struct{ prefix, user string }{{"login_", r.LoginUser}, {"orig_", r.OriginalUser}, {"auth_", auth}} {
		part, ok := strings.CutPrefix(name, u.prefix)
		if !ok {
			continue
		}
		local, domain, _ := strings.Cut(u.user, "@")
		switch part {
		case "user":
			return u.user, true, nil
		case "username":
			return local, true, nil
		case "domain":
			return domain, true, nil
		}
	}
	return "", false, nil
}

// fieldVar is %{passdb:FIELD:default}.
func fieldVar(f *Fields, arg string) (string, bool, error) {
	name, dflt, _ := strings.Cut(arg, ":")
	value, ok := f.Get(name)
	if !ok {
		return dflt, true, nil
	}
	return value, true, nil
}

func (r *Request) realLocal() netip.AddrPort {
	if r.RealLocal.IsValid() {
		return r.RealLocal
	}
	return r.Local
}

func (r *Request) realRemote() netip.AddrPort {
	if r.RealRemote.IsValid() {
		return r.RealRemote
	}
	return r.Remote
}

func addrText(a netip.AddrPort) string {
	if !a.Addr().IsValid() {
		return ""
	}
	return a.Addr().String()
}

func portText(a netip.AddrPort) string { return strconv.Itoa(int(a.Port())) }

func numberText(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

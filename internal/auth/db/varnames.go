package db

import (
	"strconv"
	"strings"
)

// eachVar calls fn with the long name and value of each %variable that the request has a
// value for, in Dovecot's order. checkpassword programs and Lua scripts see them.
func (r *Request) eachVar(fn func(name, value string)) {
	for _, name := range varNames {
		if value, ok := r.namedVar(name); ok {
			fn(name, value)
		}
	}
}

var varNames = []string{
	"user", "username", "domain", "service", "lip", "rip", "pid", "password", "mech", "secured", "lport", "rport", "cert",
	"login_user", "login_username", "login_domain", "session", "real_lip", "real_rip", "real_lport", "real_rport", "domain_first", "domain_last",
	"master_user", "session_pid", "orig_user", "orig_username", "orig_domain", "auth_user", "auth_username", "auth_domain", "local_name", "client_id",
	"local_ip", "remote_ip", "local_port", "remote_port", "real_local_ip", "real_remote_ip", "real_local_port", "real_remote_port",
	"mechanism", "original_user", "original_username", "original_domain",
}

// namedVar returns the value of a variable by its long name. It has none if Dovecot
// does not set it, which is something else than an empty one.
func (r *Request) namedVar(name string) (value string, ok bool) {
	switch name {
	case "password":
		return r.Password, r.Password != ""
	case "pid":
		return strconv.FormatUint(uint64(r.ClientPID), 10), true
	case "domain", "domain_first", "domain_last":
		if !strings.Contains(r.User, "@") {
			return "", false
		}
	case "lip", "local_ip", "real_lip", "real_local_ip", "rip", "remote_ip", "real_rip", "real_remote_ip",
		"session", "session_pid", "master_user", "local_name", "client_id", "login_user", "login_username":
		value, ok = r.anyVar(name)
		return value, ok && value != ""
	}
	if part, isOriginal := strings.CutPrefix(name, "original_"); isOriginal {
		name = "orig_" + part
	}
	if prefix, isDomain := strings.CutSuffix(name, "_domain"); isDomain {
		whole, _ := r.anyVar(prefix + "_user")
		if !strings.Contains(whole, "@") {
			return "", false
		}
	}
	return r.anyVar(name)
}

// anyVar finds a variable whether it also has a short name or not.
func (r *Request) anyVar(name string) (string, bool) {
	vars := r.vars(r.User)
	for _, v := range vars.Table {
		if v.Name == name {
			return v.Value, true
		}
	}
	value, ok, err := r.longVar(name, "")
	return value, ok && err == nil
}

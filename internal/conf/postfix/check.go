package postfix

import (
	"fmt"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Check makes the checks that every Postfix program makes at start, except for
// those of users and groups. Its texts are Postfix's fatal errors; an
// [*Error] has a warning to be logged before.
func (m *Main) Check() error {
	if err := m.checkTypes(); err != nil {
		return err
	}
	c, err := Get[Core](m)
	if err != nil {
		return err
	}
	for _, check := range []func(*Core) error{
		m.checkHostnames, m.checkInterfaces, m.checkStyle, m.checkOrigin, m.checkSyslog, m.checkLogFile, m.checkVERP,
	} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// checkTypes checks what main.cf sets of the parameters that all programs
// read, whether or not anything uses them here.
func (m *Main) checkTypes() error {
	names := make([]string, 0, len(m.values))
	for name := range m.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := Lookup(name)
		if p == nil || p.Kind == KindRaw || !slices.Contains(p.Programs, "all") {
			continue
		}
		text, _, err := m.Expand(name)
		if err != nil {
			return err
		}
		if err := p.assign(reflect.New(kindTypes[p.Kind]).Elem(), text); err != nil {
			return err
		}
	}
	return nil
}

var kindTypes = map[Kind]reflect.Type{
	KindString: reflect.TypeFor[string](), KindBool: reflect.TypeFor[bool](),
	KindInt: reflect.TypeFor[int64](), KindSize: reflect.TypeFor[int64](), KindTime: reflect.TypeFor[int64](),
}

// fatal is an error about a parameter, with the file in front.
func (m *Main) fatal(format string, args ...any) error {
	return fmt.Errorf("file %s: %s", filepath.Join(m.dir, "main.cf"), fmt.Sprintf(format, args...))
}

func (m *Main) checkHostnames(c *Core) error {
	for _, p := range []struct{ name, value string }{{"myhostname", c.Myhostname}, {"mydomain", c.Mydomain}} {
		if err := CheckHostname(p.value); err != nil {
			return &Error{Warning: err.Error(), Fatal: m.fatal("parameter %s: bad parameter value: %s", p.name, p.value).Error()}
		}
	}
	if c.Relayhost == c.Myhostname {
		return fmt.Errorf("myhostname and relayhost parameter settings must not be identical: %s", c.Myhostname)
	}
	return nil
}

// CheckHostname checks the syntax of a host name; the text is that of
// Postfix's valid_hostname(3).
func CheckHostname(name string) error {
	fail := func(format string, args ...any) error {
		shown := name
		if len(shown) > 100 {
			shown = shown[:100]
		}
		return fmt.Errorf("valid_hostname: %s: %s", fmt.Sprintf(format, args...), shown)
	}
	if name == "" {
		return fmt.Errorf("valid_hostname: empty hostname")
	}
	label, numeric := 0, true
	for i := 0; i < len(name); i++ {
		last := i+1 == len(name)
		switch c := name[i]; {
		case nameLen(name[i:i+1]) == 1:
			if label++; label > 63 {
				return fail("hostname label too long")
			}
			numeric = numeric && '0' <= c && c <= '9'
		case c == '.':
			if label == 0 || last {
				return fail("misplaced delimiter")
			}
			label = 0
		case c == '-':
			numeric = false
			if label++; label == 1 || last || name[i+1] == '.' {
				return fail("misplaced hyphen")
			}
		default:
			return fail("invalid character %d(decimal)", c)
		}
	}
	if numeric {
		return fail("numeric hostname")
	}
	if len(name) > 255 {
		return fmt.Errorf("valid_hostname: bad length %d for %.100s...", len(name), name)
	}
	return nil
}

// CheckNetworks makes the checks that the default of mynetworks depends on.
func (m *Main) CheckNetworks() error {
	if _, err := m.ownInterfaces(); err != nil {
		return err
	}
	style, _, err := m.Expand("mynetworks_style")
	if err != nil {
		return err
	}
	return checkStyle(style)
}

func checkProtocols(protocols string) error {
	for _, p := range SplitList(protocols) {
		if p != "all" && p != "ipv4" && p != "ipv6" {
			return fmt.Errorf("unknown inet_protocols value \"%s\" in \"%s\"", p, protocols)
		}
	}
	return nil
}

// checkInterfaces refuses an address that no interface has: mail would
// silently not be accepted there.
func (m *Main) checkInterfaces(*Core) error {
	_, err := m.withoutMasks().ownInterfaces()
	return err
}

func (m *Main) checkStyle(c *Core) error {
	if m.IsSet("mynetworks") {
		return nil
	}
	return checkStyle(c.MynetworksStyle)
}

func checkStyle(style string) error {
	list := SplitList(style)
	for _, s := range list {
		if s != "host" && s != "subnet" && s != "class" {
			return fmt.Errorf("unknown mynetworks mask style value \"%s\" in \"%s\"", s, style)
		}
	}
	if len(list) != 1 {
		return fmt.Errorf("bad mynetworks_style value: %s; specify exactly one value", style)
	}
	return nil
}

func (m *Main) checkOrigin(c *Core) error {
	if strings.ContainsAny(c.Myorigin, listSeparators) {
		return fmt.Errorf("myorigin parameter setting must not contain multiple values: %s", c.Myorigin)
	}
	return nil
}

var syslogFacilities = []string{
	"auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "security", "syslog", "user", "uucp",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func (m *Main) checkSyslog(c *Core) error {
	if !slices.Contains(syslogFacilities, c.SyslogFacility) {
		return m.fatal("parameter syslog_facility: unrecognized value: %s", c.SyslogFacility)
	}
	return nil
}

func (m *Main) checkLogFile(c *Core) error {
	inside := func(prefix string) bool { return strings.HasPrefix(c.MaillogFile, prefix) }
	if c.MaillogFile != "" && !slices.ContainsFunc(SplitList(c.MaillogFilePrefixes), inside) {
		return fmt.Errorf("maillog_file value '%s' does not match any prefix in maillog_file_prefixes", c.MaillogFile)
	}
	return nil
}

// checkVERP checks that the delimiters can be told from the text around them.
func (m *Main) checkVERP(*Core) error {
	delimiters, _, err := m.Expand("default_verp_delimiters")
	if err != nil {
		return err
	}
	filter, _, err := m.Expand("verp_delimiter_filter")
	if err != nil {
		return err
	}
	for i, which := range []string{"first", "second"} {
		if i >= len(delimiters) || strings.IndexByte(filter, delimiters[i]) < 0 {
			return m.fatal("parameters default_verp_delimiters and verp_delimiter_filter: bad %s VERP delimiter character", which)
		}
	}
	return nil
}

// CheckUsers checks that the users and groups that protect the mail system
// from others, and from one another, exist and are distinct. The master calls
// it if it is going to use them.
func (m *Main) CheckUsers() error {
	c, err := Get[Core](m)
	if err != nil {
		return err
	}
	owner, err := m.unprivileged("mail_owner", c.MailOwner)
	if err != nil {
		return err
	}
	privs, err := m.unprivileged("default_privs", c.DefaultPrivs)
	if err != nil {
		return err
	}
	group, err := user.LookupGroup(c.SetgidGroup)
	if err != nil {
		return m.fatal("parameter setgid_group: unknown group name: %s", c.SetgidGroup)
	}
	switch {
	case group.Gid == "0":
		return m.fatal("parameter setgid_group: group %s has privileged group ID", c.SetgidGroup)
	case c.DefaultPrivs == c.MailOwner:
		return m.fatal("parameters default_privs and mail_owner specify the same user %s", c.MailOwner)
	case privs.Uid == owner.Uid:
		return m.fatal("parameters default_privs and mail_owner: users %s and %s have the same user ID: %s", c.DefaultPrivs, c.MailOwner, owner.Uid)
	case privs.Gid == owner.Gid:
		return m.fatal("parameters default_privs and mail_owner: users %s and %s have the same group ID: %s", c.DefaultPrivs, c.MailOwner, owner.Gid)
	case privs.Gid == group.Gid:
		return m.fatal("parameters default_privs and setgid_group: user %s and group %s have the same group ID: %s", c.DefaultPrivs, c.SetgidGroup, group.Gid)
	case owner.Gid == group.Gid:
		return m.fatal("parameters mail_owner and setgid_group: user %s and group %s have the same group ID: %s", c.MailOwner, c.SetgidGroup, group.Gid)
	}
	return nil
}

func (m *Main) unprivileged(param, name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, m.fatal("parameter %s: unknown user name value: %s", param, name)
	}
	if uid, _ := strconv.Atoi(u.Uid); uid == 0 {
		return nil, m.fatal("parameter %s: user %s has privileged user ID", param, name)
	}
	if gid, _ := strconv.Atoi(u.Gid); gid == 0 {
		return nil, m.fatal("parameter %s: user %s has privileged group ID", param, name)
	}
	return u, nil
}

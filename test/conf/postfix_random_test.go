package conf

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// parameterTexts are values as they may be written, by the type of the parameter. postconf
// prints any, right or wrong.
var parameterTexts = map[postfix.Kind][]string{
	postfix.KindBool:   {"yes", "no", "YES", "No", "true", "", "${stress?{yes}:{no}}", "$undefined_bool"},
	postfix.KindInt:    {"0", "1", "-1", "100", "4294967296", "x", "", "10 ", "1 2", "${stress?{10}:{20}}", "$default_process_limit"},
	postfix.KindSize:   {"0", "10240000", "10M", "", "-5", "$message_size_limit_x", "99999999999999"},
	postfix.KindTime:   {"0", "5", "5s", "10m", "1h", "5d", "2w", "10days", "5x", "", "-1s", "${stress?{10}:{300}}s", "$default_time"},
	postfix.KindRaw:    {"", "$user", "/bin/sh -c \"$HOME\"", "${a?b}", "a, b", "\\c $x"},
	postfix.KindString: anyParameter,
}

var anyParameter = append([]string{
	"", "plain", "a, b, c", "a  b   c", "$myhostname", "${myhostname}", "$(mydomain)", "hash:/etc/postfix/none, hash:$config_directory/x", "$mydestination $mynetworks", "x # not a comment",
	"'a' \"b\"", "{ a, b }", "inline:{ {a = b}, c=d }", "permit_mynetworks, reject", "a\\b", "ä", "$$", "$$x", "static:all", "pcre:/etc/x", "cidr:{ {1.2.3.4 x} }", "user@$mydomain",
	"proxy:unix:passwd.byname", "$own_first", "$own_second and $own_third", "a=b", "=", "/etc/mailname", "x\ty", "[127.0.0.1]:$own_port", "%s %u", "btree:${data_directory}/x", "!a,b", "a\v b",
}, expressions...)

// expressions are $name forms of all kinds, nested ones and wrong ones.
var expressions = []string{
	"${stress?a}", "${stress:a}", "${stress?{a}:{b}}", "${stress ? {a} : {b}}", "${stress? {a}}", "${relayhost?{x $relayhost}:{y $mydomain}}", "${{$own_level} == {1} ? {one} : {other}}",
	"${{$own_level} != {1} ? {other} : {one}}", "${{10} < {9} ? {a} : {b}}", "${{b} > {a}}", "${{$compatibility_level} <level {3.6} ? {old} : {new}}", "${{a} == {a} ? text}", "${{a} == {b} : text}",
	"${own_first?{${own_second?{${own_third?{deep}}}}}}", "${own_first:{${own_second:none}}}", "${ myhostname }", "$(own_first)", "${own_first?$own_second}", "${{x}=={x}?{$own_first}:{$own_second}}",
	"${{$own_first} >= {$own_second} ? {a} : {${own_third?{b}}}}", "${{1}<={2}}", "${{3.10} >level {3.9} ? {y} : {n}}", "${own_first?a:b}", "${own_first?{a}:b}", "${{9} >=level {3.6} ? {a} : {b}}",
	"${{$own_level} == {1} ? {${{$own_first} != {} ? {set} : {unset}}} : {}}", "$own_first$own_second", "${own_first}${own_second}x", "$own_firstx", "${{007} == {7} ? {num} : {text}}",
}

// badExpressions make an expansion fail.
var badExpressions = []string{
	"${x", "$", "${}", "text$", "$-", "a $ b", "${a b}", "${{a} = {b}}", "${{a} == {b} x}", "${{a} == b}", "${a?{b}", "${{a}", "$own_loop", "$(x", "${a-b}", "${{1} <level {x} ? {a}}", "${x?{a}:{b}", "${{a} ~ {b}}",
	"${x!y}", "${{}}", "${?}", "$(x}", "${x?{a}b}", "${{a} == {b} ? {c} : d}", "${{a} == {b} ? {c} {d}}", "${ x y }", "${{a} == {b} ! {c}}",
}

var ownParameters = []string{"own_first", "own_second", "own_third", "own_level", "own_port", "own-dash", "my_restrictions", "unused_one", "OWN_UPPER", "2own", "smtp_own_timeout", "mypipe_destination_recipient_limit",
	"mypipe_time_limit", "slow_destination_rate_delay", "ldapx_server_host", "ldapx_bogus", "own_loop"}

// oddMainLines are not assignments, or ones of odd form.
var oddMainLines = []string{
	"", "   ", "# comment", "  # indented comment", "\t", "own_first=1", "own_first =1", "own_first= 1", "own_first\t=\t1\t", "own_first = a\n  b\n\tc", "own_first = a\n# comment between\n   b", "own_first = a\n\n  b",
	"own_first =\n  a\n   b", "own_first =", "own_first = ", "own_first\n  = 5", "own_first = a\n   # indented comment\n  b", "own_first = x\r", "\r", "process_id = 5", "process_name = x", "mail_version = 9.9",
	"smtpd_restriction_classes = own_class\nown_class = permit", "smtpd_restriction_classes = own_class, other_class", "smtpd_restriction_classes = $own_first", "virtual_alias_maps = ldap:ldapx",
	"service_name = x", "own_first = $unknown_parameter", "own_level = 1", "own_level = 0", "own_level = 10", "compatibility_level = 3.6", "compatibility_level = 2", "compatibility_level = 0",
	"alias_maps = ldap:/etc/ldap/none.cf", "relay_domains = $mydestination", "mynetworks = 127.0.0.0/8 [::1]/128", "myorigin = $mydomain", "mydestination = $myhostname, localhost.$mydomain, localhost",
	"inet_protocols = all", "inet_interfaces = loopback-only", "myhostname = mail.example.com", "mydomain = example.org", "multi_instance_name = postfix-two", "virtual_maps = hash:/x", "smtpd_client_restrictions = $own_first\n  permit_mynetworks,\n  reject",
	"transport_maps = proxy:ldap:ldapx, mysql:ldapx", "own_first = $own_first more",
}

// badMainLines make the file unreadable.
var badMainLines = []string{"noequals", "no equals here", "= value", "own first = x", "compatibility_level = x", "compatibility_level = 3.6.x", "compatibility_level = ${x", "  = x"}

// A postfixMaker makes random configurations of Postfix.
type postfixMaker struct {
	*rand.Rand
	params []*postfix.Param
	wrong  bool
}

func newPostfixMaker(seed uint64) *postfixMaker {
	m := &postfixMaker{Rand: rand.New(rand.NewPCG(seed, 5))}
	for _, p := range postfix.Params() {
		if !p.ReadOnly && !newerParameter(p) {
			m.params = append(m.params, p)
		}
	}
	return m
}

// newerParameter reports whether the reference, Postfix 3.7, does not have it yet.
func newerParameter(p *postfix.Param) bool {
	minor, ok := strings.CutPrefix(p.Since, "3.")
	n, err := strconv.Atoi(minor)
	return ok && err == nil && n > 7
}

func (m *postfixMaker) main() []*node {
	nodes := []*node{leaf("compatibility_level = " + pick(m.Rand, []string{"3.6", "3.6", "2", "1", "0", "3.7"}))}
	if m.IntN(10) == 0 {
		nodes = nil
	}
	if m.IntN(15) == 0 {
		nodes = append(nodes, leaf(pick(m.Rand, []string{"  indented first line", "\tx = y"})))
	}
	for range 2 + m.IntN(30) {
		nodes = append(nodes, leaf(m.mainLine()))
	}
	return nodes
}

func (m *postfixMaker) mainLine() string {
	if m.wrong && m.IntN(20) == 0 {
		m.wrong = false
		if m.IntN(2) == 0 {
			return pick(m.Rand, badMainLines)
		}
		return "own_first = " + pick(m.Rand, badExpressions)
	}
	switch n := m.IntN(10); {
	case n < 5:
		return m.assign(pick(m.Rand, m.params).Name)
	case n < 8:
		return m.assign(pick(m.Rand, ownParameters))
	}
	return pick(m.Rand, oddMainLines)
}

// plainNames are parameters that end every program if they are wrong, or that the
// printing depends on.
var plainNames = map[string]bool{
	"compatibility_level": true, "myhostname": true, "mydomain": true, "inet_protocols": true, "inet_interfaces": true, "config_directory": true, "mynetworks_style": true,
	"mail_owner": true, "setgid_group": true, "default_privs": true, "meta_directory": true, "shlib_directory": true, "import_environment": true, "export_environment": true, "syslog_facility": true, "syslog_name": true,
	"maillog_file": true, "relayhost": true, "mydestination": true, "mynetworks": true, "default_process_limit": true, "maillog_file_prefixes": true, "default_database_type": true, "daemon_directory": true, "queue_directory": true,
}

func (m *postfixMaker) text(name string) string {
	p := postfix.Params()[0]
	for _, q := range m.params {
		if q.Name == name {
			p = q
		}
	}
	if p.Name != name {
		return pick(m.Rand, anyParameter)
	}
	if m.IntN(6) == 0 || plainNames[name] {
		return p.Default
	}
	v := pick(m.Rand, parameterTexts[p.Kind])
	for strings.Contains(v, name) {
		v = pick(m.Rand, parameterTexts[p.Kind]) // an endless expansion
	}
	return v
}

func (m *postfixMaker) assign(name string) string {
	v := m.text(name)
	if i := strings.IndexByte(v, ' '); i > 0 && m.IntN(4) == 0 {
		v = v[:i] + pick(m.Rand, []string{"\n  ", "\n\t", "\n# comment\n    ", "\n\n "}) + v[i+1:]
	}
	return name + pick(m.Rand, []string{" = ", " = ", " = ", "=", "  =\t", " =\n    "}) + v + pick(m.Rand, []string{"", "", "", " ", "\t"})
}

// services is a master.cf.
func (m *postfixMaker) services() []*node {
	nodes := []*node{leaf("# service type  private unpriv  chroot  wakeup  maxproc command + args")}
	for i := range 1 + m.IntN(8) {
		nodes = append(nodes, leaf(m.service(i)))
	}
	return nodes
}

func (m *postfixMaker) service(i int) string {
	if m.IntN(12) == 0 {
		return pick(m.Rand, []string{"", "# comment", "   ", "#smtps inet n - n - - smtpd"})
	}
	name, kind := pick(m.Rand, []string{"smtp", "pickup", "cleanup", "qmgr", "slow", "mypipe", "my-pipe", "relay", "lmtp", fmt.Sprintf("svc%d", i)}), "unix"
	if m.IntN(3) == 0 {
		kind = "inet"
		name = pick(m.Rand, []string{"smtp", "25", "submission", "127.0.0.1:10025", "[::1]:2525", "localhost:smtp", "smtps", fmt.Sprint(1000 + i)})
	} else if m.IntN(4) == 0 {
		kind = pick(m.Rand, []string{"fifo", "pass", "unix-dgram"})
	}
	blank := pick(m.Rand, []string{" ", "  ", "\t", "       "})
	fields := []string{name, kind, pick(m.Rand, []string{"n", "y", "-"}), pick(m.Rand, []string{"n", "y", "-"}), pick(m.Rand, []string{"n", "y", "-"}), pick(m.Rand, []string{"-", "60", "0", "300?", "1000?"}),
		pick(m.Rand, []string{"-", "1", "0", "100"}), pick(m.Rand, []string{"smtpd", "smtp", "pipe", "cleanup", "lmtp", "spawn", "virtual", "averyveryverylongcommandname"})}
	if kind == "inet" {
		fields[2] = "n"
	}
	text := strings.Join(fields, blank)
	for range m.IntN(7) {
		text += pick(m.Rand, []string{" ", "\n  ", "\n    ", "\n# comment\n\t", "  "}) + m.argument()
	}
	return text
}

func (m *postfixMaker) argument() string {
	p := pick(m.Rand, append([]string{"own_first", "syslog_name", "smtpd_tls_security_level", "own_service_only", "smtpd_client_restrictions", "smtpd_milters"}, ownParameters...))
	switch m.IntN(12) {
	case 0:
		return "-v"
	case 1:
		return "-o { " + p + " = two words }"
	case 2:
		return "-o {" + p + "=a b}"
	case 3:
		return "-o " + p + "=again" // -oname=value makes the original print memory that it has freed
	case 4:
		return "flags=DRhu user=vmail argv=/bin/prog -f ${sender} {arg with space} $(recipient)"
	case 5:
		return "-o " + p + "="
	case 6:
		return "-o " + p + "=$own_port,$service_name"
	case 7:
		return pick(m.Rand, []string{"-D", "-vv", "-z", "-u", "-t unix", "-n smtp", "{ }", "{}", "{a}", "--", "-o " + p + "=${own_first?{x}:{y}}", "-o " + p + "=$unknown_in_service"})
	case 8:
		return "-o\n    " + p + "=next_line"
	case 9:
		return "-o { " + p + " = a, b, $own_third }"
	}
	return "-o " + p + "=" + pick(m.Rand, []string{"yes", "no", "encrypt", "permit_mynetworks,reject", "postfix/$service_name", "$own_first", "a=b", "hash:/x"})
}

// badServices make master.cf unreadable.
var badServices = []string{
	"smtp inet n - n -", "smtp", "smtp inet n - n - - smtpd -o", "smtp inet n - n - - smtpd -o x", "smtp bogus n - n - - smtpd", "smtp inet x - n - - smtpd", "smtp inet n z n - - smtpd", "smtp inet n - q - - smtpd",
	"smtp inet n - n x - smtpd", "smtp inet n - n - x smtpd", "smtp inet n - n - - smtpd {", "smtp inet n - n - - smtpd -o {a=b", "smtp inet n - n - - smtpd -o {a=b}c", "smtp inet n - n - - smtpd -o { = b }", "  indented inet n - n - - smtpd",
	"smtp inet n - n - -1 smtpd", "smtp inet y - n - - smtpd", "smtp inet - - n - - smtpd", "- inet n - n - - smtpd", "smtp - n - n - - smtpd", "smtp inet n - n - - -", "smtp inet n - n 5?? - smtpd", "smtp inet n - n - - smtpd -o =b",
}

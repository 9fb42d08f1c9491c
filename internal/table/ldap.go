package table

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/ldapdb"
)

// ldapTable is ldap_table(5).
type ldapTable struct {
	querier
	dir         *ldapdb.Directory
	server      string // for warnings
	binds       bool
	bindDN      string
	base        string
	dynamicBase bool // the base depends on the key
	scope       ldapdb.Scope
	filter      string
	timeout     time.Duration

	terminal, leaf, regular, special []string // attributes
	attrs                            []string // all of them

	recursionLimit, expansionLimit, sizeLimit int
}

// maxLDAPEntries bounds what one lookup makes of groups in groups.
const maxLDAPEntries = 100_000

func openLDAP(_, name string, o *Options) (Table, error) {
	c, err := openClient(name, o)
	if err != nil {
		return nil, err
	}
	t := &ldapTable{querier: querier{typ: "ldap", name: name, o: o}}
	if err := t.configure(c); err != nil {
		return nil, err
	}
	set := t.connection(c)
	if c.err != nil {
		return nil, c.err
	}
	if t.dir, err = ldapdb.Open(set); err != nil {
		return nil, fmt.Errorf("ldap:%s: %w", name, err)
	}
	return t, nil
}

// configure reads what is searched and what is made of it.
func (t *ldapTable) configure(c *client) error {
	t.base = c.str("search_base", "")
	t.filter = c.str("query_filter", "(mailacceptinggeneralid=%s)")
	t.timeout = time.Duration(c.num("timeout", 10, 0)) * time.Second
	t.resultFormat = c.str("result_format", c.str("result_filter", "%s"))
	t.terminal = postfix.SplitList(c.str("terminal_result_attribute", ""))
	t.leaf = postfix.SplitList(c.str("leaf_result_attribute", ""))
	t.regular = postfix.SplitList(c.str("result_attribute", "maildrop"))
	t.special = postfix.SplitList(c.str("special_result_attribute", ""))
	t.attrs = slices.Concat(t.terminal, t.leaf, t.regular, t.special)
	t.recursionLimit = c.num("recursion_limit", 1000, 1)
	t.expansionLimit = c.num("expansion_limit", 0, 0)
	t.sizeLimit = c.num("size_limit", t.expansionLimit, 0)
	switch scope := c.str("scope", "sub"); strings.ToLower(scope) {
	case "sub":
		t.scope = ldap.ScopeWholeSubtree
	case "one":
		t.scope = ldap.ScopeSingleLevel
	case "base":
		t.scope = ldap.ScopeBaseObject
	default:
		t.o.warnf("dict_ldap_open: %s: Unrecognized value %s specified for scope; using sub", t.name, scope)
		t.scope = ldap.ScopeWholeSubtree
	}
	var err error
	if t.dynamicBase, err = t.parse(t.base, true); err != nil {
		return err
	}
	dynamic, err := t.parse(t.filter, true)
	if err != nil {
		return err
	}
	if !dynamic {
		t.o.warnf("dict_ldap_open: %s: Fixed query_filter %s is probably useless", t.name, t.filter)
	}
	if _, err := t.parse(t.resultFormat, false); err != nil {
		return err
	}
	for _, key := range []string{"cache", "cache_expiry", "cache_size"} {
		if value := c.str(key, ""); value != "" && value != "no" && value != "-1" {
			t.o.warnf("dict_ldap_open: %s ignoring %s", t.name, key)
		}
	}
	return t.parseDomains(c.str("domain", ""))
}

// connection reads how the servers are reached.
func (t *ldapTable) connection(c *client) *ext.LDAP {
	set := &ext.LDAP{Version: 3, Deref: "never", TLSCipherSuite: c.str("tls_cipher_suite", "")}
	t.server = serverURIs(c.str("server_host", "localhost"), c.num("server_port", 389, 0))
	set.URIs = &t.server
	// Version 2, which nobody speaks any more, is the default of the original without Debian's changes.
	c.num("version", 3, 2)
	switch bind := c.str("bind", "yes"); strings.ToLower(bind) {
	case "yes", "simple":
		set.DN, set.DNPass = c.str("bind_dn", ""), c.str("bind_pw", "")
	case "no", "none":
	case "sasl":
		set.SASLBind = true
		set.SASLMech = c.str("sasl_mechs", "")
		set.SASLRealm, set.SASLAuthzID = c.str("sasl_realm", ""), c.str("sasl_authz_id", "")
		set.DN, set.DNPass = c.str("bind_dn", ""), c.str("bind_pw", "")
		if c.num("sasl_minssf", 0, 0) > 0 && !strings.Contains(t.server, "ldaps:") && !c.yes("start_tls", false) {
			c.fail(fmt.Errorf("%s: sasl_minssf needs encryption: set start_tls = yes", t.name))
		}
	default:
		c.fail(fmt.Errorf("%s: unsupported parameter value: bind = %s", t.name, bind))
	}
	t.binds, t.bindDN = !strings.EqualFold(c.str("bind", "yes"), "no") && !strings.EqualFold(c.str("bind", "yes"), "none"), set.DN
	derefs := []string{"never", "searching", "finding", "always"}
	if n := c.num("dereference", 0, 0); n < len(derefs) {
		set.Deref = derefs[n]
	} else {
		t.o.warnf("dict_ldap_open: %s Unrecognized value %d specified for dereference; using 0", t.name, n)
	}
	if c.yes("chase_referrals", false) {
		t.o.warnf("dict_ldap_open: %s: chase_referrals is not supported by Dovetail: list all servers in server_host", t.name)
	}
	set.TLS = c.yes("start_tls", false)
	set.TLSCACertFile, set.TLSCACertDir = c.str("tls_ca_cert_file", ""), c.str("tls_ca_cert_dir", "")
	set.TLSCertFile, set.TLSKeyFile = c.str("tls_cert", ""), c.str("tls_key", "")
	require := "never"
	if c.yes("tls_require_cert", false) {
		require = "demand"
	}
	set.TLSRequireCert = &require
	return set
}

// serverURIs makes URIs of the items of server_host.
func serverURIs(hosts string, port int) string {
	var uris []string
	for _, h := range postfix.SplitList(hosts) {
		switch {
		case strings.Contains(h, "://"):
			uris = append(uris, h)
		case strings.Contains(h, ":"):
			uris = append(uris, "ldap://"+h)
		default:
			uris = append(uris, fmt.Sprintf("ldap://%s:%d", h, port))
		}
	}
	return strings.Join(uris, " ")
}

// Lookup implements [Table].
func (t *ldapTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	key = t.o.fold(key)
	if wanted, err := t.wanted(ctx, key); err != nil || !wanted {
		return "", false, err
	}
	l := ldapLookup{t: t, key: key}
	base := expand(t.base, key, quoteDN)
	err := l.search(ctx, &ldapdb.Query{Base: base, Scope: t.scope, Filter: expand(t.filter, key, quoteFilter), Attrs: t.attrs})
	switch {
	case errors.Is(err, ldapdb.ErrNoEntry) && t.dynamicBase:
		return "", false, nil
	case errors.Is(err, ldapdb.ErrNoEntry):
		t.o.warnf("dict_ldap_lookup: %s: Search base '%s' not found: 32: No such object", t.name, base)
		return "", false, fmt.Errorf("ldap:%s: search base %s not found", t.name, base)
	case err != nil:
		return "", false, fmt.Errorf("ldap:%s: %w", t.name, err)
	}
	if l.trouble {
		t.o.warnf("dict_ldap_lookup: Had some trouble with entries returned by search: No such object")
	}
	return strings.Join(l.values, ","), len(l.values) > 0, nil
}

// Close implements [Closer].
func (t *ldapTable) Close() error { t.dir.Close(); return nil }

// quoteFilter makes a text safe in a filter (RFC 4515).
func quoteFilter(s string) string {
	return strings.NewReplacer("*", `\2A`, "(", `\28`, ")", `\29`, `\`, `\5C`, "\x00", `\00`).Replace(s)
}

// quoteDN makes a text safe in a distinguished name (RFC 4514).
func quoteDN(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case strings.IndexByte(`,+"\<>;`, c) >= 0, c == '#' && i == 0, c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\%02X`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ldapLookup is one lookup with the searches that entries lead to.
type ldapLookup struct {
	t       *ldapTable
	key     string
	values  []string
	entries int
	depth   int
	trouble bool // an entry that another one names is missing, the last that was looked for
}

// search collects the values of the entries that a query finds.
func (l *ldapLookup) search(ctx context.Context, q *ldapdb.Query) error {
	l.depth++
	defer func() { l.depth-- }()
	t := l.t
	if t.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
	}
	if t.sizeLimit > 0 {
		q.Limit = t.sizeLimit + 1 // to see whether there are more
	}
	q.NeedBase = true
	var list []*ldap.Entry
	err := t.dir.Search(ctx, q, func(e *ldap.Entry) bool {
		list = append(list, e)
		l.entries++
		return l.entries <= maxLDAPEntries
	})
	switch {
	case errors.Is(err, ldapdb.ErrNoEntry):
		return err
	case err != nil:
		l.warn(err)
		return err
	case l.entries > maxLDAPEntries:
		return fmt.Errorf("more than %d entries for key %q", maxLDAPEntries, l.key)
	case t.sizeLimit > 0 && len(list) > t.sizeLimit:
		t.o.warnf("dict_ldap_lookup: Search error 4: Size limit exceeded ")
		return errors.New("size limit exceeded")
	}
	l.trouble = false
	for _, e := range list {
		if err := l.entry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// warn tells in Postfix's words why a search has failed.
func (l *ldapLookup) warn(err error) {
	t := l.t
	code, words := -1, "Can't contact LDAP server"
	var e *ldap.Error
	switch errors.As(err, &e); {
	case e == nil || e.ResultCode == ldap.ErrorNetwork:
	case e.ResultCode == ldap.ErrorFilterCompile:
		code, words = -7, "Bad search filter"
	case e.ResultCode < ldap.ErrorNetwork:
		code, words = int(e.ResultCode), resultText(e.ResultCode)
	}
	text := err.Error()
	if strings.Contains(text, "StartTLS: ") {
		if code == -1 || strings.Contains(text, "tls: ") {
			code, words = -11, "Connect error"
		}
		t.o.Log.Errorf("dict_ldap_connect: Unable to set STARTTLS: %d: %s", code, words)
		return
	}
	if !t.binds || !strings.Contains(text, "binding failed") && !strings.Contains(text, "Can't connect to server") {
		t.o.warnf("dict_ldap_lookup: Search error %d: %s ", code, words)
		return
	}
	who := "empty or implicit"
	if t.bindDN != "" {
		who = t.bindDN
	}
	t.o.warnf("dict_ldap_connect: Unable to bind to server %s with dn %s: %d (%s)", t.server, who, code, words)
}

// resultText is a result code in the words of OpenLDAP.
func resultText(code uint16) string {
	switch code {
	case ldap.LDAPResultStrongAuthRequired:
		return "Strong(er) authentication required"
	case ldap.LDAPResultBusy:
		return "Server is busy"
	case ldap.LDAPResultUnavailable:
		return "Server is unavailable"
	case ldap.LDAPResultUnwillingToPerform:
		return "Server is unwilling to perform"
	case ldap.LDAPResultInsufficientAccessRights:
		return "Insufficient access"
	}
	text := ldap.LDAPResultCodeMap[code]
	if text == "" {
		return "Unknown error"
	}
	return text[:1] + strings.ReplaceAll(strings.ToLower(text[1:]), "dn", "DN")
}

// entry adds the values of one entry, in the order in which the server has sent them.
func (l *ldapLookup) entry(ctx context.Context, e *ldap.Entry) error {
	t := l.t
	has := func(names []string) bool {
		return slices.ContainsFunc(e.Attributes, func(a *ldap.EntryAttribute) bool { return len(a.Values) > 0 && indexAttr(names, a.Name) })
	}
	isTerminal := has(t.terminal)
	isLeaf := isTerminal || !has(t.special)
	for _, a := range e.Attributes {
		switch {
		case indexAttr(t.terminal, a.Name):
			if err := l.add(a.Values); err != nil {
				return err
			}
		case isTerminal:
		case indexAttr(t.leaf, a.Name):
			if !isLeaf {
				continue
			}
			if err := l.add(a.Values); err != nil {
				return err
			}
		case indexAttr(t.regular, a.Name):
			if err := l.add(a.Values); err != nil {
				return err
			}
		case indexAttr(t.special, a.Name) && len(a.Values) > 0:
			if err := l.follow(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// indexAttr reports whether an attribute is one of names, or one of them with an option.
func indexAttr(names []string, attr string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return len(attr) >= len(name) && strings.EqualFold(attr[:len(name)], name) && (len(attr) == len(name) || attr[len(name)] == ';')
	})
}

func (l *ldapLookup) add(values []string) error {
	for _, v := range values {
		l.values, _ = l.t.result(l.values, v, l.key)
		if limited(l.values, l.t.expansionLimit) {
			l.t.o.warnf("dict_ldap_get_values[%d]: %s: Expansion limit exceeded for key: '%s'", l.depth, l.t.name, l.key)
			return errors.New("expansion limit exceeded")
		}
	}
	return nil
}

// follow searches for what the values of a special attribute name.
func (l *ldapLookup) follow(ctx context.Context, a *ldap.EntryAttribute) error {
	t := l.t
	if l.depth >= t.recursionLimit {
		t.o.warnf("dict_ldap_get_values[%d]: %s: Recursion limit exceeded for special attribute %s=%s", l.depth, t.name, a.Name, a.Values[0])
		return errors.New("recursion limit exceeded")
	}
	for _, v := range a.Values {
		q := &ldapdb.Query{Base: v, Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attrs: t.attrs}
		if strings.Contains(v, "://") {
			var err error
			if q, err = t.urlQuery(v); err != nil {
				t.o.warnf("dict_ldap_get_values[%d]: malformed URL %s: %v", l.depth, v, err)
				return err
			}
			if len(q.Attrs) == 0 {
				continue // none that is wanted
			}
		}
		err := l.search(ctx, q)
		if errors.Is(err, ldapdb.ErrNoEntry) {
			t.o.warnf("dict_ldap_get_values[%d]: DN %s not found, skipping ", l.depth, v)
			l.trouble = true
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// urlQuery reads ldap://host/base?attributes?scope?filter. The search is made on the
// present connection, whatever the host.
func (t *ldapTable) urlQuery(text string) (*ldapdb.Query, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	q := &ldapdb.Query{Base: strings.TrimPrefix(u.Path, "/"), Scope: ldap.ScopeBaseObject, Filter: "(objectClass=*)", Attrs: t.attrs}
	parts := strings.Split(u.RawQuery, "?")
	for i := range parts {
		if parts[i], err = url.PathUnescape(parts[i]); err != nil {
			return nil, err
		}
	}
	if parts[0] != "" && parts[0] != "*" {
		q.Attrs = nil
		for name := range strings.SplitSeq(parts[0], ",") {
			if indexAttr(t.attrs, name) {
				q.Attrs = append(q.Attrs, name)
			}
		}
	}
	if len(parts) > 1 {
		switch parts[1] {
		case "one":
			q.Scope = ldap.ScopeSingleLevel
		case "sub":
			q.Scope = ldap.ScopeWholeSubtree
		}
	}
	if len(parts) > 2 && parts[2] != "" {
		q.Filter = parts[2]
		if !strings.HasPrefix(q.Filter, "(") {
			q.Filter = "(" + q.Filter + ")"
		}
	}
	return q, nil
}

package dovecot

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testSettings has a field of every kind.
type testSettings struct {
	Greeting  string            `set:"login_greeting"`
	Plugins   string            `set:"mail_plugins"`
	Debug     bool              `set:"mail_debug"`
	PerIP     uint32            `set:"mail_max_userip_connections"`
	Rotate    Size              `set:"mdbox_rotate_size"`
	Idle      time.Duration     `set:"imap_idle_notify_interval"`
	Timeout   time.Duration     `set:"login_proxy_timeout" unit:"ms"`
	Port      Port              `set:"imapc_port"`
	SSL       string            `set:"ssl"`
	Cert      string            `set:"ssl_cert"`
	Boxes     []testNamespace   `set:"namespace"`
	Plugin    map[string]string `set:"plugin"`
	QuotaSize Size              `set:"plugin/quota_max_mail_size"`
}

type testNamespace struct {
	Name      string        `set:"name"`
	Prefix    string        `set:"prefix"`
	Mailboxes []testMailbox `set:"mailbox"`
}

type testMailbox struct {
	Name string `set:"name"`
	Auto string `set:"auto"`
}

var _ = Register("test", testSettings{})

func parseOK(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("/test/dovecot.conf", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func decode(t *testing.T, c *Config, f Filter) *testSettings {
	t.Helper()
	s, err := Get[testSettings](c, f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecodeKinds(t *testing.T) {
	c := parseOK(t, `
mail_debug = Y
mail_max_userip_connections = 20
mdbox_rotate_size = 4MiB
imap_idle_notify_interval = 90s
login_proxy_timeout = 1500 ms
mail_plugins = notify
mail_plugins = $mail_plugins   virtual
namespace inbox {
  prefix = INBOX.
  mailbox "Sent Messages" {
    auto = create
  }
  mailbox Trash {
  }
}
namespace {
}
plugin {
  quota = count:User
  quota_max_mail_size = 10M
}
`)
	want := &testSettings{
		Greeting: "Dovecot ready.", Plugins: "notify virtual", Debug: true, PerIP: 20, Rotate: 4 << 20, Idle: 90 * time.Second,
		Timeout: 1500 * time.Millisecond, Port: 143, SSL: "yes", QuotaSize: 10 << 20,
		Boxes: []testNamespace{
			{Name: "inbox", Prefix: "INBOX.", Mailboxes: []testMailbox{{"Sent Messages", "create"}, {"Trash", "no"}}},
			{Mailboxes: []testMailbox{}},
		},
		Plugin: map[string]string{"quota": "count:User", "quota_max_mail_size": "10M"},
	}
	if diff := cmp.Diff(want, decode(t, c, Filter{})); diff != "" {
		t.Error(diff)
	}
}

func TestFilterPrecedence(t *testing.T) {
	c := parseOK(t, `
login_greeting = global
protocol imap {
  login_greeting = imap
}
local 10.0.0.0/8 {
  login_greeting = net
  local 10.1.0.0/16 {
    login_greeting = subnet
    protocol lmtp {
      login_greeting = subnet lmtp
    }
  }
}
local_name "a.example.com *.example.net" {
  ssl = required
}
protocol !pop3 {
  mail_debug = yes
}
`)
	addr := netip.MustParseAddr
	for _, tt := range []struct {
		name string
		f    Filter
		want string
	}{
		{"nothing matches", Filter{Service: "pop3"}, "global"},
		{"protocol", Filter{Service: "imap"}, "imap"},
		{"network", Filter{Service: "pop3", Local: addr("10.2.0.1")}, "net"},
		{"longer prefix wins", Filter{Service: "pop3", Local: addr("10.1.0.1")}, "subnet"},
		{"nested protocol wins", Filter{Service: "lmtp", Local: addr("10.1.0.1")}, "subnet lmtp"},
		{"filters side by side", Filter{Service: "imap", Local: addr("10.1.0.1")}, "conflict"},
		{"no service is none", Filter{}, "global"},
		{"other filters of the same kind", Filter{Service: "lmtp"}, "global"},
		{"IPv4 in IPv6", Filter{Service: "pop3", Local: addr("::ffff:10.1.0.1")}, "subnet"},
	} {
		s, err := Get[testSettings](c, tt.f)
		got := "conflict"
		if err == nil {
			got = s.Greeting
		}
		if got != tt.want {
			t.Errorf("%s: %q (%v), want %q", tt.name, got, err, tt.want)
		}
	}
	for name, want := range map[string]string{"A.example.com": "required", "x.example.net": "required", "x.y.example.net": "yes", "example.net": "yes", "": "yes"} {
		if s := decode(t, c, Filter{LocalName: name}); s.SSL != want {
			t.Errorf("local_name %q: ssl=%s, want %s", name, s.SSL, want)
		}
	}
	if got, want := c.Varies("pop3"), ScopeLocal|ScopeLocalName; got != want {
		t.Errorf("Varies = %v, want %v", got, want)
	}
	if decode(t, c, Filter{Service: "pop3"}).Debug || !decode(t, c, Filter{Service: "imap"}).Debug {
		t.Error("protocol !pop3 does not match all but pop3")
	}
}

func TestFilterConflict(t *testing.T) {
	c := parseOK(t, "local 10.0.0.0/8 {\n  mail_debug = yes\n}\nremote 10.0.0.0/8 {\n  mail_debug = no\n}\n")
	a := netip.MustParseAddr("10.0.0.1")
	_, err := Get[testSettings](c, Filter{Local: a, Remote: a})
	if err == nil || !strings.HasPrefix(err.Error(), "Error in configuration file /test/dovecot.conf: Conflict in setting mail_debug found from filter at /test/dovecot.conf:4") {
		t.Errorf("got error %v", err)
	}
	decode(t, c, Filter{Local: a})
	_, err = Parse("/x", "protocol imap {\n  mail_debug = yes\n}\nlocal 10.0.0.0/8 {\n  mail_debug = yes\n  protocol imap {\n    mail_debug = no\n  }\n}\n")
	if err == nil || err.Error() != "Error in configuration file /x: Conflict in setting mail_debug found from filter at /x:1" {
		t.Errorf("a filter that can never be used: %v", err)
	}
}

func TestPassdbOrder(t *testing.T) {
	c := parseOK(t, "passdb {\n  driver = pam\n}\nprotocol lda {\n  passdb {\n    driver = static\n  }\n}\npassdb last {\n  driver = sql\n}\n")
	names := func(f Filter) string {
		a, err := Get[Auth](c, f)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, p := range a.Passdbs {
			s = append(s, p.Driver+p.Name)
		}
		return strings.Join(s, " ")
	}
	if got, want := names(Filter{}), "pam sqllast"; got != want {
		t.Errorf("global: %q, want %q", got, want)
	}
	if got, want := names(Filter{Service: "lda"}), "static pam sqllast"; got != want {
		t.Errorf("protocol lda: %q, want %q", got, want)
	}
}

func TestServices(t *testing.T) {
	c := parseOK(t, `
default_internal_user = root
default_client_limit = 7
service imap-login {
  inet_listener imap {
    port = 1143
  }
  inet_listener imaps {
    port = 0
  }
}
service/lmtp/process_limit = 5
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = $default_internal_user
  }
}
`)
	services, err := Services(c)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Service{}
	for _, s := range services {
		byName[s.Name] = s
	}
	login := byName["imap-login"]
	want := []InetListener{{Name: "imap", Port: 1143}, {Name: "imaps", Port: 0, SSL: true}}
	if diff := cmp.Diff(want, login.InetListeners); diff != "" {
		t.Error(diff)
	}
	if login.User != "dovenull" || login.Chroot != "login" || login.ClientLimit != 7 {
		t.Errorf("imap-login: %+v", login)
	}
	if n := byName["lmtp"].ProcessLimit; n != 5 {
		t.Errorf("lmtp process_limit %d", n)
	}
	auth := byName["auth"].UnixListeners
	if last := auth[len(auth)-1]; last != (UnixListener{Path: "/var/spool/postfix/private/auth", Mode: 0o660, User: "root"}) {
		t.Errorf("auth listener: %+v", last)
	}
	if got, want := c.Origin(Filter{}, "service/imap-login/inet_listener/imap/port"), "/test/dovecot.conf:6"; got != want {
		t.Errorf("Origin = %q, want %q", got, want)
	}
	if got := c.Origin(Filter{}, "service/imap/process_limit"); got != "" {
		t.Errorf("Origin of a default = %q", got)
	}
}

func TestOverride(t *testing.T) {
	c := parseOK(t, "mail_plugins = notify\nprotocol imap {\n  mail_debug = no\n}\nnamespace inbox {\n}\n")
	o, err := c.Override("mail_debug=yes", "plugin/quota_rule=*:storage=1G", "nosuch=1", "namespace/inbox/prefix=I/")
	if err != nil {
		t.Fatal(err)
	}
	s := decode(t, o, Filter{Service: "imap"})
	if !s.Debug || s.Plugin["quota_rule"] != "*:storage=1G" || s.Plugins != "notify" || s.Boxes[0].Prefix != "I/" {
		t.Errorf("%+v", s)
	}
	if decode(t, c, Filter{}).Debug {
		t.Error("Override changed its receiver")
	}
	for _, tt := range []struct{ in, want string }{
		{"mail_debug=maybe", "Invalid boolean value: maybe (use yes or no)"},
		{"noequals", "Missing '='"},
	} {
		if _, err := c.Override(tt.in); err == nil || err.Error() != tt.want {
			t.Errorf("Override(%q) = %v, want %q", tt.in, err, tt.want)
		}
	}
	for key, want := range map[string]bool{"mail_debug": true, "plugin/x": true, "x": false, "service": false, "namespace/inbox/prefix": true} {
		if Known(key) != want {
			t.Errorf("Known(%q) = %v", key, !want)
		}
	}
}

func TestBinary(t *testing.T) {
	dir := t.TempDir()
	pem := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(pem, []byte("CERT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("ssl_cert = <%s\nlocal_name a.example {\n  ssl_cert = <%s\n}\nremote 10.0.0.0/8 {\n  mail_debug = yes\n}\nplugin {\n  a = b\n}\n", pem, "cert.pem")
	path := filepath.Join(dir, "dovecot.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, ReadFiles())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pem); err != nil {
		t.Fatal(err)
	}
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &Config{}
	if err := d.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	f := Filter{LocalName: "a.example", Remote: netip.MustParseAddr("10.1.1.1")}
	got := decode(t, d, f)
	if diff := cmp.Diff(decode(t, c, f), got); diff != "" {
		t.Error(diff)
	}
	if got.Cert != "CERT\n" || !got.Debug {
		t.Errorf("%+v", got)
	}
	if o := d.Origin(f, "ssl_cert"); o != path+":3" {
		t.Errorf("Origin = %q", o)
	}
	if s := decode(t, d.Without("ssl_cert", "plugin"), f); s.Cert != "" || len(s.Plugin) != 0 {
		t.Errorf("Without leaves %+v", s)
	}
	for n := range b { // every damaged form is refused or read, never a panic
		if err := new(Config).UnmarshalBinary(b[:n]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", n, len(b))
		}
	}
}

func TestMissingFileAtDecode(t *testing.T) {
	c := parseOK(t, "ssl_cert = </nonexistent/cert.pem\n")
	_, err := Get[testSettings](c, Filter{})
	want := "Error in configuration file /test/dovecot.conf line 1: ssl_cert: Can't open file /nonexistent/cert.pem: No such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestIncludes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("conf.d/20-b.conf", "login_greeting = $login_greeting b\n")
	write("conf.d/10-a.conf", "login_greeting = a\nnamespace inbox {\n")
	write("conf.d/15-x.conf", "prefix = X/\n}\n")
	write("conf.d/.hidden.conf", "bogus\n")
	write("loop.conf", "!include loop.conf\n")
	write("deep.conf", "!include ./deep.conf\n")
	for _, tt := range []struct{ name, text, want string }{
		{"glob in order, sections over files", "!include conf.d/*.conf\n", ""},
		{"braces", "!include conf.d/{10-a,15-x,20-b}.conf\n", ""},
		{"directory", "login_greeting = a b\nnamespace {\n prefix=X/\n}\n!include conf.d\n", ""},
		{"nothing to try", "!include_try none/*.conf\nlogin_greeting = a b\nnamespace {\n prefix=X/\n}\n", ""},
		{"loop", "!include loop.conf\n", "loop.conf line 1: Recursive include file: " + dir + "/loop.conf"},
		{"loop by other names", "!include deep.conf\n", "Recursive include file: "},
		{"error in an included file", "!include conf.d/1[05]-*.conf\n!include conf.d/10*\nx = y\n}\n", "dovecot.conf line 3: Unknown setting: namespace { x"},
	} {
		write("dovecot.conf", tt.text)
		c, err := Load(filepath.Join(dir, "dovecot.conf"))
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if s := decode(t, c, Filter{}); s.Greeting != "a b" || s.Boxes[0].Prefix != "X/" {
			t.Errorf("%s: %+v", tt.name, s)
		}
	}
}

// endless gives the same bytes again and again.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text)
	if e.left -= n; e.left < 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestHugeInput(t *testing.T) {
	const size = 200 << 20
	for _, tt := range []struct{ name, text, want string }{
		{"one line", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "line 1: Line is too long"},
		{"continuation", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa \\\n", "Line is too long"},
		{"settings", "login_greeting = x\n", "Configuration is too large"},
		{"binary", "\x7fELF\x00\x01\x02\n", "line 1: Expecting '{'"},
	} {
		c := &Config{path: "x"}
		err := newParser(c, options{}, builtin()).parse("x", &endless{strings.Repeat(tt.text, 100), size})
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	paths, _ := filepath.Glob("../doveconf/testdata/*/*.txtar")
	if len(paths) == 0 {
		f.Fatal("no seeds")
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		_, text, _ := strings.Cut(string(b), "-- dovecot.conf --\n")
		text, _, _ = strings.Cut(text, "-- ")
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") || strings.Contains(text, "<") || strings.Contains(text, "local ") || strings.Contains(text, "remote ") {
			return // no files, no name lookups
		}
		c, err := Parse("fuzz", text)
		if c == nil {
			if err == nil {
				t.Fatal("neither Config nor error")
			}
			return
		}
		b, err := c.AppendBinary(nil)
		if err != nil {
			return
		}
		if err := new(Config).UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		for _, l := range c.layers {
			Get[testSettings](c, Filter{Service: l.cond.service})
		}
		if x, err := c.Export(Selection{Show: ShowChanged}); err == nil {
			x.Write(io.Discard, Printing{Filters: true})
			x.WriteFlat(io.Discard, nil)
		}
	})
}

func FuzzUnmarshalBinary(f *testing.F) {
	c, err := Parse("x", "mail_debug = yes\nprotocol imap {\n  ssl = no\n}\nnamespace a {\n mailbox b {\n auto = create\n }\n}\n")
	if err != nil {
		f.Fatal(err)
	}
	b, err := c.AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Config{}
		if c.UnmarshalBinary(b) == nil {
			Get[testSettings](c, Filter{Service: "imap"})
			Services(c)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	schema()
	text := stockConfig(b)
	for b.Loop() {
		if _, err := Parse("stock", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSchema(b *testing.B) {
	for b.Loop() {
		buildSchema()
	}
}

func BenchmarkDecode(b *testing.B) {
	c, err := Parse("stock", strings.ReplaceAll(stockConfig(b), "= <", "= "))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Get[SSL](c, Filter{Service: "imap"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeNames decodes for one TLS server name of a thousand.
func BenchmarkDecodeNames(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "local_name mail%d.example.com {\n  login_greeting = %d\n}\n", i, i)
	}
	c, err := Parse("names", text.String())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Get[SSL](c, Filter{Service: "imap", LocalName: "mail500.example.com"}); err != nil {
			b.Fatal(err)
		}
	}
}

// stockConfig is the sample with all files of RHEL 9, as one text.
func stockConfig(tb testing.TB) string {
	b, err := os.ReadFile("../doveconf/testdata/samples/03-pam-maildir-postfix.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "-- dovecot.conf --\n")
	text, _, _ = strings.Cut(text, "-- ")
	return text
}

func TestNoEffect(t *testing.T) {
	c := parseOK(t, `
director_servers = 10.0.0.1
imapc_host = x
version_ignore = no
mail_debug = yes
mail_plugins = notify
plugin {
  notify_status_mailbox2 = x
  own_setting = y
}
local_name a.example {
  instance_name = x
}
`)
	want := []string{
		"setting director_servers has no effect: there is no director",
		"setting imapc_host has no effect: the imapc storage is not supported",
		"setting mail_plugins has no effect: there is no plugin notify",
		"setting plugin/notify_status_mailbox2 has no effect: it is not supported",
		"setting instance_name in a filter has no effect: it cannot vary by what the filter at /test/dovecot.conf:11 matches",
	}
	if diff := cmp.Diff(want, c.Warnings()); diff != "" {
		t.Error(diff)
	}
}

func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"login_access_sockets = tcpwrap\n":                 "/x line 1: login_access_sockets is not supported, and without it clients it would refuse could log in: remove it to start all the same",
		"protocol imap {\n  mail_plugins = quota acl\n}\n": "/x line 2: mail_plugins: quota is not supported",
		"doveadm_allowed_commands = who\n":                 "doveadm clients could run any command",
	} {
		c, err := Parse("/x", text)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Refused(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

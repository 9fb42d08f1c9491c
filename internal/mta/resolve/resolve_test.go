package resolve

import (
	"context"
	"net/netip"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/table"
)

const testConfig = `
compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
myorigin = $mydomain
mydestination = example.com, localhost
inet_interfaces = 127.0.0.1
recipient_delimiter = +
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{info@alias.example=alice}}
virtual_mailbox_domains = vmail.example
virtual_transport = lmtp:unix:/run/lmtp
relay_domains = relay.example
transport_maps = inline:{{user@t.example=a:b},{t.example=c:},{.t.example=:d},{err.example=error:},{none.example=:},{plus@t.example=e:f},{quiet.example=discard:silently}}
relocated_maps = inline:{{gone@r.example=new@place.example}}
`

func newResolver(t testing.TB, config string) *Resolver {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), testConfig+config)
	if err != nil {
		t.Fatal(err)
	}
	open, err := NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(main, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestResolve(t *testing.T) {
	r := newResolver(t, "")
	for _, tt := range []struct {
		in, transport, nexthop, rcpt string
		class                        Class
		routed                       bool
	}{
		{in: "alice@example.com", transport: "local", nexthop: "mail.example.com", class: Local},
		{in: "alice@EXAMPLE.com.", transport: "local", nexthop: "mail.example.com", rcpt: "alice@EXAMPLE.com", class: Local},
		{in: "alice@[127.0.0.1]", transport: "local", nexthop: "mail.example.com", class: Local},
		{in: "alice@[192.0.2.1]", transport: "smtp", nexthop: "[192.0.2.1]"},
		{in: "info@alias.example", transport: "error", nexthop: "5.1.1 User unknown in virtual alias table", class: VirtualAlias},
		{in: "v@vmail.example", transport: "lmtp", nexthop: "unix:/run/lmtp", class: VirtualMailbox},
		{in: "r@relay.example", transport: "relay", nexthop: "relay.example", class: Relay},
		{in: "r@sub.relay.example", transport: "relay", nexthop: "sub.relay.example", class: Relay},
		{in: "x@Remote.example", transport: "smtp", nexthop: "remote.example"},
		{in: "x%remote.example@example.com", transport: "smtp", nexthop: "remote.example", rcpt: "x@remote.example"},
		{in: "x@remote.example@example.com", transport: "smtp", nexthop: "remote.example", rcpt: "x@remote.example"},
		{in: "remote.example!x@example.com", transport: "smtp", nexthop: "remote.example", rcpt: "x@remote.example"},
		{in: "x%y@relay.example", transport: "relay", nexthop: "relay.example", class: Relay, routed: true},
		{in: "x@-bad", transport: "error", nexthop: badSyntax},
		{in: "-x@example.com", transport: "error", nexthop: badSyntax, class: Local},
		{in: "x@1.2.3.4", transport: "error", nexthop: badSyntax},
		{in: "", transport: "smtp", nexthop: "mail.example.com", rcpt: "MAILER-DAEMON@mail.example.com"},
		{in: "user@t.example", transport: "a", nexthop: "b"},
		{in: "plus+x@t.example", transport: "e", nexthop: "f"},
		{in: "other@t.example", transport: "c", nexthop: "t.example"},
		{in: "other@sub.t.example", transport: "smtp", nexthop: "d"},
		{in: "x@err.example", transport: "error", nexthop: "Address is undeliverable"},
		{in: "x@none.example", transport: "smtp", nexthop: "none.example"},
		{in: "x@quiet.example", transport: "discard", nexthop: "silently"},
		{in: "gone@r.example", transport: "error", nexthop: "5.1.6 User has moved to new@place.example"},
	} {
		got, err := r.Resolve(context.Background(), "s@example.net", tt.in)
		if tt.rcpt == "" {
			tt.rcpt = tt.in
		}
		if err != nil || got.Transport != tt.transport || got.Nexthop != tt.nexthop || got.Recipient != tt.rcpt || got.Class != tt.class || got.Routed != tt.routed {
			t.Errorf("%q: got %+v, %v, want %+v", tt.in, got, err, tt)
		}
	}
}

func TestRelayhost(t *testing.T) {
	r := newResolver(t, "relayhost = [gw.example]:587\nmailbox_transport = lmtp:inet:host:24\n"+
		"sender_dependent_relayhost_maps = inline:{{a@s.example=[a.example]},{@s.example=[s.example]},{<>=[null.example]},{@d.example=DUNNO}}\n"+
		"sender_dependent_default_transport_maps = inline:{{@t.example=special:},{u@t.example=special:there}}\n")
	for _, tt := range []struct{ sender, rcpt, transport, nexthop string }{
		{"x@x.example", "y@y.example", "smtp", "[gw.example]:587"},
		{"a@s.example", "y@y.example", "smtp", "[a.example]"},
		{"a+ext@s.example", "y@y.example", "smtp", "[a.example]"},
		{"b@s.example", "y@y.example", "smtp", "[s.example]"},
		{"b@s.example", "y@relay.example", "relay", "[s.example]"},
		{"", "y@y.example", "smtp", "[null.example]"},
		{"x@d.example", "y@y.example", "smtp", "[gw.example]:587"},
		{"x@t.example", "y@y.example", "special", "[gw.example]:587"},
		{"u@t.example", "y@y.example", "special", "there"},
		{"x@x.example", "alice@example.com", "lmtp", "inet:host:24"},
	} {
		got, err := r.Resolve(context.Background(), tt.sender, tt.rcpt)
		if err != nil || got.Transport != tt.transport || got.Nexthop != tt.nexthop {
			t.Errorf("%s to %s: got %+v, %v", tt.sender, tt.rcpt, got, err)
		}
	}
}

func TestRewrite(t *testing.T) {
	local := newResolver(t, "append_dot_mydomain = yes\n")
	remote := newResolver(t, "remote_header_rewrite_domain = invalid.example\n")
	for _, tt := range []struct {
		r                 *Resolver
		context, in, want string
	}{
		{local, "local", "", ""},
		{local, "local", "user", "user@example.com"},
		{local, "local", "user@host", "user@host.example.com"},
		{local, "local", "user@host.", "user@host"},
		{local, "local", "user@a.example.", "user@a.example"},
		{local, "local", "user@[1.2.3.4]", "user@[1.2.3.4]"},
		{local, "local", "site!user", "user@site.example.com"},
		{local, "local", "user%a.example", "user@a.example"},
		{local, "local", "@a,@b:user@c.example", "user@c.example"},
		{local, "remote", "user", "user"},
		{remote, "remote", "user", "user@invalid.example"},
		{remote, "local", "user@host", "user@host"},
	} {
		if got := tt.r.Rewrite(context.Background(), tt.context, tt.in); got != tt.want {
			t.Errorf("%s %q: got %q, want %q", tt.context, tt.in, got, tt.want)
		}
	}
}

func TestSplitExtension(t *testing.T) {
	plus, minus := newResolver(t, ""), newResolver(t, "recipient_delimiter = +-\n")
	for _, tt := range []struct {
		r             *Resolver
		in, user, ext string
	}{
		{plus, "a+b+c", "a", "+b+c"}, {plus, "+b", "+b", ""}, {plus, "a-b", "a-b", ""}, {plus, "a", "a", ""},
		{minus, "a-b", "a", "-b"}, {minus, "owner-list", "owner-list", ""}, {minus, "list-request", "list-request", ""},
		{minus, "MAILER-DAEMON", "MAILER-DAEMON", ""}, {minus, "double-bounce", "double-bounce", ""},
	} {
		if user, ext := tt.r.SplitExtension(tt.in); user != tt.user || ext != tt.ext {
			t.Errorf("%q: got %q, %q", tt.in, user, ext)
		}
	}
}

func TestTemporaryFailure(t *testing.T) {
	r := newResolver(t, "relay_domains = fail:always\n")
	if _, err := r.Resolve(context.Background(), "", "x@remote.example"); err == nil {
		t.Error("no error for a table that cannot be read")
	}
	if _, err := r.Resolve(context.Background(), "", "x@example.com"); err != nil {
		t.Errorf("a table that is not needed: %v", err)
	}
}

func TestOwnAddr(t *testing.T) {
	r := newResolver(t, "proxy_interfaces = [2001:db8::1], 192.0.2.7\n")
	for addr, want := range map[string]bool{"127.0.0.1": true, "::ffff:127.0.0.1": true, "2001:db8::1": true, "192.0.2.7": true, "192.0.2.8": false} {
		if r.OwnAddr(netip.MustParseAddr(addr)) != want {
			t.Errorf("OwnAddr(%s) is not %v", addr, want)
		}
	}
}

func FuzzResolve(f *testing.F) {
	r := newResolver(f, "")
	for _, s := range []string{"a@b", "a%b@example.com", "a@b@example.com", "x!y!z@localhost", "@", "", "@a:b", "a@[127.0.0.1]", "%%%@example.com", "!@!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		once := r.Rewrite(context.Background(), "local", addr)
		if twice := r.Rewrite(context.Background(), "local", once); twice != once && addr != "" && addr[0] != '@' && once[len(once)-1] != '.' {
			t.Errorf("%q becomes %q, then %q", addr, once, twice)
		}
		res, err := r.Resolve(context.Background(), "", once)
		if err != nil || res.Transport == "" {
			t.Errorf("%q: %+v, %v", addr, res, err)
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	r := newResolver(b, "")
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(context.Background(), "a@b.example", r.Rewrite(context.Background(), "local", "alice@example.com"))
	}
}

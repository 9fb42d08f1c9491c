package resolve

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/test/harness"
	"github.com/google/go-cmp/cmp"
)

// compared is what both are configured with.
const compared = `compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
`

const numCompared = 250

// TestLikePostfix asks Postfix's trivial-rewrite and ours to rewrite and resolve
// the same addresses, with the same settings and tables, chosen at random.
func TestLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start Postfix")
	}
	was := flavor.Name
	flavor.Name = "debian"
	t.Cleanup(func() { flavor.Name = was })
	rnd := rand.New(rand.NewPCG(6, 2))
	configs := make([]map[string]string, numCompared)
	services := ""
	for i := range configs {
		configs[i] = randomSettings(rnd)
		services += fmt.Sprintf("rewrite%d unix - - n - 1 trivial-rewrite -o syslog_name=config%d\n", i, i)
		for name, value := range configs[i] {
			services += fmt.Sprintf("  -o { %s = %s }\n", name, value)
		}
	}
	p := harness.StartPostfix(t, map[string]string{"main.cf": compared, "master.cf": services})
	for i, config := range configs {
		ours := newCompared(t, config)
		theirs := dialRewrite(t, filepath.Join(p.Dir, "spool", "private", fmt.Sprintf("rewrite%d", i)))
		for range 25 {
			addr, sender := randomAddress(rnd), randomAddress(rnd)
			for _, rule := range []string{"local", "remote"} {
				got := ours.RewriteExternal(rule, addr)
				if rule == "remote" && !ours.RewritesRemote() {
					continue // cleanup does not ask then
				}
				if want := theirs.rewrite(t, rule, addr); got != want {
					t.Errorf("rewrite %s %q: %q, Postfix %q\n%v", rule, addr, got, want, config)
				}
			}
			got := ours.show(ours.Resolve(context.Background(), sender, addr))
			if want := theirs.resolve(t, sender, addr); !strings.EqualFold(got, want) {
				t.Errorf("%q to %q: %s, Postfix %s\n%v", sender, addr, got, want, config)
			}
		}
		theirs.Close()
		if t.Failed() && i > 20 {
			t.Fatal("and so on")
		}
		compareWarnings(t, ours, p, i, config)
	}
}

// compareWarnings waits for Postfix's log, which comes through its postlogd.
func compareWarnings(t *testing.T, ours *comparedResolver, p *harness.Postfix, i int, config map[string]string) {
	t.Helper()
	diff := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if diff = cmp.Diff(ours.log, warnings(p.Log(), fmt.Sprintf(" config%d/trivial-rewrite[", i))); diff == "" {
			return
		}
	}
	t.Errorf("warnings (- ours, + Postfix's): %s\n%v", diff, config)
}

// comparedResolver is one of ours, and the warnings it logged.
type comparedResolver struct {
	*Resolver
	log []string
}

func newCompared(t *testing.T, config map[string]string) *comparedResolver {
	text := compared
	for name, value := range config {
		text += name + " = " + value + "\n"
	}
	main, err := postfix.Parse(t.TempDir(), text)
	if err != nil {
		t.Fatal(err)
	}
	c := new(comparedResolver)
	log := maillog.NewFunc(func(_ maillog.Level, text string) {
		if isCompared(text) {
			c.log = append(c.log, text)
		}
	})
	open, err := NewOpener(main, table.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if c.Resolver, err = New(main, open, log); err != nil {
		t.Fatal(err)
	}
	return c
}

// isCompared picks the warnings of the resolver itself.
func isCompared(text string) bool {
	return strings.HasPrefix(text, "do not list domain ") || strings.HasSuffix(text, " lookup failure") || strings.Contains(text, "non-address")
}

func warnings(log, tag string) (all []string) {
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, tag); ok {
			if _, text, ok = strings.Cut(strings.TrimSpace(text), "]: warning: "); ok && isCompared(text) {
				all = append(all, text)
			}
		}
	}
	return all
}

func (c *comparedResolver) show(res Result, err error) string {
	switch {
	case err != nil:
		return "temporary failure"
	case res.BadSyntax:
		return "bad syntax"
	}
	return fmt.Sprintf("%s:%s %s class=%d routed=%v", res.Transport, res.Nexthop, res.Recipient, res.Class, res.Routed)
}

// rewriteClient speaks the protocol of Postfix's trivial-rewrite: names and
// values that end in NULs, a list that ends in an empty name.
type rewriteClient struct {
	net.Conn
	in *bufio.Reader
}

func dialRewrite(t *testing.T, path string) *rewriteClient {
	var conn net.Conn
	harness.Eventually(t, "socket "+path, func() bool {
		var err error
		conn, err = net.Dial("unix", path)
		return err == nil
	})
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	c := &rewriteClient{conn, bufio.NewReader(conn)}
	c.read(t)
	return c
}

func (c *rewriteClient) ask(t *testing.T, attrs ...string) []string {
	t.Helper()
	if _, err := c.Write([]byte(strings.Join(attrs, "\x00") + "\x00\x00")); err != nil {
		t.Fatal(err)
	}
	return c.read(t)
}

func (c *rewriteClient) read(t *testing.T) (values []string) {
	t.Helper()
	for {
		name, err := c.in.ReadString(0)
		if err != nil {
			t.Fatal(err)
		}
		if name == "\x00" {
			return values
		}
		value, err := c.in.ReadString(0)
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, strings.TrimSuffix(value, "\x00"))
	}
}

func (c *rewriteClient) rewrite(t *testing.T, rule, addr string) string {
	return c.ask(t, "request", "rewrite", "rule", rule, "address", addr)[1]
}

func (c *rewriteClient) resolve(t *testing.T, sender, addr string) string {
	values := c.ask(t, "request", "resolve", "sender", sender, "address", addr)
	flags, err := strconv.Atoi(values[4])
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case flags&8 != 0:
		return "temporary failure"
	case flags&4 != 0:
		return "bad syntax"
	}
	class := slices.Index([]int{1 << 12, 1 << 8, 1 << 9, 1 << 10, 1 << 11}, flags&^3)
	return fmt.Sprintf("%s:%s %s class=%d routed=%v", values[1], values[2], values[3], class, flags&2 != 0)
}

var (
	someUsers = []string{"alice", "bob", "alice+x", "bob-y+z", "owner-list", "list-request", "postmaster", "MAILER-DAEMON", "A.b", "a b", "-x", "a\"q",
		"x%r.example", "x!y", "u@v.example", "%", "a@b%c", ".dot", "ü"}
	someDomains = []string{"example.com", "mail.example.com", "host", "localhost", "v.example", "a.example", "r.example", "sub.r.example", "deep.sub.r.example",
		"remote.example", "Remote.Example", "[127.0.0.1]", "[192.0.2.1]", "192.0.2.1", "x.example.", "-bad.example", "[bad]", "", "dé.example"}
)

func pick(rnd *rand.Rand, from []string) string { return from[rnd.IntN(len(from))] }

func randomAddress(rnd *rand.Rand) string {
	switch rnd.IntN(12) {
	case 0:
		return pick(rnd, someUsers)
	case 1:
		return pick(rnd, someUsers) + "@" + pick(rnd, someDomains) + "@" + pick(rnd, someDomains)
	case 2:
		return pick(rnd, []string{"@", "\"\"", "@a,@b:c@d.example", "a!b%c", "a%b", "x!y!z", "user@", "\"a@b\"@example.com", "\"a b\"@host", "a..b@host", "@r.example",
			"user@.", "user@..", "a@b.example..", "(c) a @ host", "\"x%y\"@example.com", "\"x!y\"@example.com", "a:b@host", "\"a\"", "a b@c"})
	}
	return pick(rnd, someUsers) + "@" + pick(rnd, someDomains)
}

// randomKey is a key of a table of addresses.
func randomKey(rnd *rand.Rand) string {
	user, domain := pick(rnd, []string{"alice", "bob", "alice+x", "bob-y", "bob", "postmaster"}), pick(rnd, someDomains)
	switch rnd.IntN(6) {
	case 0:
		return user
	case 1:
		return "@" + domain
	case 2:
		return domain
	case 3:
		return "." + domain
	case 4:
		return pick(rnd, []string{"*", "<>", "example", ".example", "r.example", ".r.example", "sub.r.example"})
	}
	return user + "@" + domain
}

func randomTable(rnd *rand.Rand, values []string) string {
	if rnd.IntN(25) == 0 {
		return "fail:now"
	}
	var b strings.Builder
	b.WriteString("inline:{{no-one@nowhere.example = " + values[0] + "} ")
	seen := map[string]bool{}
	for range rnd.IntN(7) {
		key := strings.ToLower(randomKey(rnd))
		if key == "" || seen[key] {
			continue
		}
		seen[key] = true
		fmt.Fprintf(&b, "{%s = %s} ", key, pick(rnd, values))
	}
	return b.String() + "}"
}

func randomDomains(rnd *rand.Rand) string {
	var all []string
	for range rnd.IntN(4) {
		if d := pick(rnd, someDomains); d != "" && d[0] != '[' {
			all = append(all, strings.ToLower(d))
		}
	}
	return strings.Join(all, ", ")
}

// randomSettings chooses parameters of trivial-rewrite.
func randomSettings(rnd *rand.Rand) map[string]string {
	set := map[string]string{"mydestination": "$myhostname, localhost, example.com"}
	maybe := func(n int, name string, value func() string) {
		if rnd.IntN(n) == 0 {
			set[name] = value()
		}
	}
	for _, name := range []string{
		"append_dot_mydomain", "append_at_myorigin", "swap_bangpath", "allow_percent_hack", "resolve_dequoted_address", "resolve_null_domain",
		"resolve_numeric_domain", "allow_min_user", "show_user_unknown_table_name", "helpful_warnings", "smtputf8_enable", "owner_request_special",
	} {
		maybe(3, name, func() string { return pick(rnd, []string{"yes", "no"}) })
	}
	maybe(2, "recipient_delimiter", func() string { return pick(rnd, []string{"+", "-", "+-", "-+"}) })
	maybe(4, "myorigin", func() string { return pick(rnd, []string{"example.com", "origin.example", "host"}) })
	maybe(4, "mydestination", func() string { return randomDomains(rnd) })
	maybe(3, "remote_header_rewrite_domain", func() string { return "invalid.example" })
	for _, name := range []string{"virtual_alias_domains", "virtual_mailbox_domains", "relay_domains"} {
		maybe(2, name, func() string { return randomDomains(rnd) })
	}
	transports := []string{"lmtp:unix:private/x", "smtp:[gw.example]:25", "error:5.1.1 no such thing", "error:", "retry:", ":", ":[hop.example]", "discard:", "custom", "smtp"}
	for _, name := range []string{"local_transport", "virtual_transport", "relay_transport", "default_transport"} {
		maybe(4, name, func() string {
			return pick(rnd, []string{"lmtp:unix:private/x", "custom", "smtp:[gw.example]", "error:mail is not taken", "local"})
		})
	}
	maybe(2, "transport_maps", func() string { return randomTable(rnd, transports) })
	maybe(3, "relocated_maps", func() string { return randomTable(rnd, []string{"new@place.example", "nowhere at all"}) })
	maybe(4, "relayhost", func() string { return pick(rnd, []string{"[relay.example]", "relay.example:587"}) })
	maybe(3, "sender_dependent_relayhost_maps", func() string { return randomTable(rnd, []string{"[s.example]", "DUNNO", "s.example:26"}) })
	maybe(3, "sender_dependent_default_transport_maps", func() string { return randomTable(rnd, []string{"slow:", "slow", "slow:[x.example]", "dunno"}) })
	maybe(4, "parent_domain_matches_subdomains", func() string {
		return pick(rnd, []string{"", "transport_maps", "relay_domains", "transport_maps, relay_domains"})
	})
	maybe(6, "empty_address_recipient", func() string { return pick(rnd, []string{"nobody", "nobody@r.example"}) })
	return set
}

package mta

import (
	"math/rand/v2"
	"regexp"
	"strings"
)

var mboxDate = regexp.MustCompile(`(?m)^(From \S+)  ?\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$`)

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

func randomUser(rnd *rand.Rand) string {
	return pick(rnd, "dvtma", "dvtmb", "dvtma+ext", "alice", "bob", "carol+x", "root", "postmaster", "owner-list", "list", "nested", "hard", "soft", "late", "Alice")
}

func randomDomain(rnd *rand.Rand) string {
	return pick(rnd, "example.com", "mail.example.com", "pc.example.com", "v.example", "w.example", "box.example", "relay.example", "sub.relay.example", "remote.example", "localhost")
}

func randomAddress(rnd *rand.Rand) string {
	if rnd.IntN(8) == 0 {
		return randomUser(rnd)
	}
	return randomUser(rnd) + "@" + randomDomain(rnd)
}

// randomRows are rows of an address table.
func randomRows(rnd *rand.Rand, values func() string) (rows [][2]string) {
	seen := make(map[string]bool)
	for range 2 + rnd.IntN(8) {
		key := randomAddress(rnd)
		if rnd.IntN(4) == 0 {
			key = "@" + randomDomain(rnd)
		}
		if key = strings.ToLower(key); !seen[key] {
			rows = append(rows, [2]string{key, values()})
			seen[key] = true
		}
	}
	return rows
}

func newRandomConfig(rnd *rand.Rand) *randomConfig {
	c := &randomConfig{set: make(map[string]string), tables: make(map[string][][2]string)}
	maybe := func(n int, name string, values ...string) {
		if rnd.IntN(n) == 0 {
			c.set[name] = pick(rnd, values...)
		}
	}
	table := func(n int, name string, values func() string) {
		if rnd.IntN(n) == 0 {
			c.tables[name] = randomRows(rnd, values)
			c.set[name] = "hash:$config_directory/" + name
		}
	}
	one := func() string {
		if rnd.IntN(6) == 0 {
			return "@" + randomDomain(rnd)
		}
		return randomAddress(rnd)
	}
	several := func() string {
		all := randomAddress(rnd)
		for range rnd.IntN(3) {
			all += ", " + randomAddress(rnd)
		}
		return all
	}
	nexthop := func() string {
		return pick(rnd, "smtp:[127.0.0.1]:@HOP@", "relay:[127.0.0.1]:@HOP@", "error:5.1.2 gone for good", "retry:4.3.0 come back", "discard:thrown away", ":[127.0.0.1]:@HOP@", "local", "error:")
	}
	table(3, "canonical_maps", one)
	table(4, "sender_canonical_maps", one)
	table(4, "recipient_canonical_maps", one)
	table(2, "virtual_alias_maps", several)
	table(3, "transport_maps", nexthop)
	table(5, "relocated_maps", func() string { return pick(rnd, "new@place.example", "somewhere else") })
	table(5, "sender_dependent_default_transport_maps", func() string {
		via := nexthop()
		if via[0] == ':' {
			via = "smtp" + via // Postfix waits for ever for the name of a transport
		}
		return via
	})
	table(4, "smtp_generic_maps", func() string { return pick(rnd, "@out.example", "one@out.example", "two@out.example") })
	table(4, "sender_bcc_maps", func() string { return randomAddress(rnd) })
	table(4, "recipient_bcc_maps", func() string { return randomAddress(rnd) })
	maybe(5, "always_bcc", "archive@remote.example", "dvtmb")
	c.set["virtual_alias_domains"] = pick(rnd, "", "", "w.example", "v.example w.example")
	maybe(2, "relay_domains", "relay.example", "relay.example, w.example")
	if rnd.IntN(2) == 0 {
		c.set["virtual_mailbox_domains"] = "box.example"
		c.set["virtual_mailbox_maps"] = "inline:{{alice@box.example = alice} {dvtma@box.example = box} {@box.example = catchall}}"
	}
	maybe(2, "recipient_delimiter", "+", "+", "+-", "-")
	maybe(3, "myorigin", "$mydomain", "remote.example")
	maybe(4, "masquerade_domains", "example.com", "!mail.example.com example.com")
	maybe(6, "masquerade_exceptions", "root, alice")
	maybe(4, "append_dot_mydomain", "yes")
	maybe(4, "local_recipient_maps", "")
	maybe(4, "luser_relay", "other@remote.example", "$user@v.example", "dvtmb", "list")
	maybe(4, "smtpd_reject_unlisted_recipient", "no")
	maybe(5, "propagate_unmatched_extensions", "", "canonical", "virtual", "alias")
	maybe(5, "enable_original_recipient", "no")
	maybe(5, "parent_domain_matches_subdomains", "")
	maybe(5, "notify_classes", "resource, software", "2bounce, delay") // smtpd tells the postmaster nothing yet
	maybe(6, "always_add_missing_headers", "yes")
	maybe(6, "delay_logging_resolution_limit", "3")
	maybe(6, "prepend_delivered_header", "command, file", "forward")
	maybe(6, "smtp_header_checks", "regexp:{{/^Subject: (.*)/ REPLACE Subject: [out] $$1}}")
	c.set["alias_maps"] = "texthash:$config_directory/local_aliases"
	c.tables["local_aliases"] = [][2]string{
		{pick(rnd, "owner-list", "owner-list", "owner-none"), "dvtma"}, {"list", several()}, {"alice", several()}, {"postmaster", "root"}, {"root", "dvtmb"}, {"bob", pick(rnd, `"|exit 67"`, `"|true"`, "hard@remote.example", "nobody-here")},
		{"nested", "list, " + randomUser(rnd)},
	}
	c.widen(rnd, maybe)
	for range 5 {
		c.mail = append(c.mail, c.randomMail(rnd))
	}
	// What sendmail -bv says of aliases differs.
	if c.set["virtual_alias_maps"]+c.set["canonical_maps"]+c.set["recipient_canonical_maps"]+c.set["recipient_bcc_maps"] == "" {
		c.verify = []string{randomUser(rnd) + "@remote.example", randomUser(rnd) + "@relay.example", randomUser(rnd) + "@box.example"}
	}
	return c
}

package mta

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// widen adds what few configurations have.
func (c *randomConfig) widen(rnd *rand.Rand, maybe func(n int, name string, values ...string)) {
	maybe(5, "masquerade_classes", "envelope_sender, envelope_recipient, header_sender, header_recipient", "envelope_recipient", "header_sender")
	maybe(8, "owner_request_special", "no")
	maybe(8, "allow_percent_hack", "no")
	maybe(8, "remote_header_rewrite_domain", "domain.invalid")
	maybe(8, "local_header_rewrite_clients", "")
	maybe(8, "canonical_classes", "envelope_sender, header_sender", "header_recipient", "envelope_recipient, envelope_sender")
	maybe(8, "recipient_canonical_classes", "envelope_recipient")
	maybe(8, "sender_canonical_classes", "header_sender")
	maybe(6, "smtp_body_checks", "regexp:{{/^text/ REPLACE other text}}")
	maybe(8, "disable_dns_lookups", "yes")
	maybe(8, "append_at_myorigin", "yes")
	maybe(8, "expand_owner_alias", "yes")
	maybe(8, "reset_owner_alias", "yes")
	maybe(8, "undisclosed_recipients_header", "To: undisclosed-recipients:;")
	maybe(8, "message_drop_headers", "x-test, bcc")
	if rnd.IntN(5) == 0 {
		c.tables["sender_dependent_relayhost_maps"] = randomRows(rnd, func() string { return pick(rnd, "[127.0.0.1]:@HOP@", "DUNNO") })
		c.set["sender_dependent_relayhost_maps"] = "hash:$config_directory/sender_dependent_relayhost_maps"
		c.set["default_transport"] = "smtp"
		c.set["relayhost"] = "[127.0.0.1]:@HOP@"
	}
	if rnd.IntN(4) == 0 {
		c.set["smtpd_authorized_verp_clients"] = "127.0.0.1"
		c.verp = true
		maybe(3, "default_verp_delimiters", "-=")
		maybe(3, "disable_verp_bounces", "yes")
	}
	for _, name := range []string{"header_checks", "body_checks", "mime_header_checks", "nested_header_checks"} {
		if rnd.IntN(4) == 0 {
			c.set[name] = randomChecks(rnd)
		}
	}
}

// randomChecks is a table of checks on content.
func randomChecks(rnd *rand.Rand) string {
	text := "regexp:{"
	for range 1 + rnd.IntN(3) {
		pattern := pick(rnd, "^Subject: .*two", "^Subject: one", "^X-Test: (.*)", "^To:", "^text", "second", "^Content-Type: text", "^Subject: inner", "^X-Inner:")
		action := pick(rnd, "PREPEND X-More: yes", "REJECT not this", "REJECT 4.7.9 later", "REJECT", "IGNORE", "STRIP gone", "WARN seen", "INFO seen", "HOLD", "HOLD for a while",
			"DISCARD", "DISCARD thrown away", "REDIRECT other@remote.example", "REDIRECT dvtma@example.com", "BCC copy@remote.example", "BCC dvtmb", "FILTER smtp:[127.0.0.1]:@HOP@",
			"REPLACE X-Now: yes", "DUNNO", "PASS", "nonsense")
		text += fmt.Sprintf(" {/%s/ %s}", pattern, action)
	}
	return text + "}"
}

// randomMail is a message for a configuration.
func (c *randomConfig) randomMail(rnd *rand.Rand) randomMail {
	m := randomMail{from: randomAddress(rnd), to: nil}
	utf8 := rnd.IntN(8) == 0
	params := []string{"", "", "", " NOTIFY=SUCCESS,FAILURE", " NOTIFY=NEVER", " ORCPT=rfc822;orig@origin.example", " NOTIFY=DELAY"}
	switch {
	case rnd.IntN(8) == 0:
		m.from = ""
	case c.verp && rnd.IntN(2) == 0:
		m.mailParams = pick(rnd, " XVERP", " XVERP=+=")
	}
	if c.tables["local_aliases"][0][0] != "owner-list" && rnd.IntN(4) == 0 { // what Postfix says to members of a list is wrong
		m.mailParams += pick(rnd, " RET=HDRS ENVID=some+2Bid", " RET=FULL")
	}
	if utf8 {
		m.mailParams += " SMTPUTF8"
		params = params[:3]
	}
	m.header = fmt.Sprintf("From: %s\r\nTo: %s,\r\n\t%s\r\nSubject: %s\r\nX-Test: %s\r\n", randomAddress(rnd), randomAddress(rnd), randomAddress(rnd), pick(rnd, "one", "two", "three"), randomUser(rnd))
	m.body = pick(rnd, "text\r\n", "text\r\nsecond\r\n", multipart, nested)
	if m.body == multipart || m.body == nested {
		m.header += "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n"
	}
	for range 1 + rnd.IntN(3) {
		to := randomAddress(rnd)
		if user, domain, ok := strings.Cut(to, "@"); utf8 && ok && rnd.IntN(2) == 0 {
			to = user + "é@" + domain
		}
		m.to = append(m.to, "<"+to+">"+pick(rnd, params...))
	}
	return m
}

// Bodies with parts that header checks see.
const (
	multipart = "preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\ntext\r\n--b\r\nContent-Type: text/html\r\nX-Inner: yes\r\n\r\nsecond\r\n--b--\r\nepilogue\r\n"
	nested    = "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nX-Inner: no\r\n\r\ntext\r\n--b--\r\n"
)

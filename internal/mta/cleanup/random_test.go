package cleanup

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

func appendPath(addr string) []byte {
	if addr == "" {
		return nil
	}
	return rfc822.AppendQuoted(nil, addr)
}

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

func randomUser(rnd *rand.Rand) string {
	return pick(rnd, "alice", "bob", "carol", "dave+x", "alice+y", "root", "postmaster", "owner-list", "a b", "Alice", "loop", "many")
}

func randomDomain(rnd *rand.Rand) string {
	return pick(rnd, "example.com", "host.example.com", "deep.host.example.com", "mail.example.com", "v.example", "w.example", "remote.example", "x.sub.example", "localhost")
}

func randomAddress(rnd *rand.Rand) string {
	if rnd.IntN(6) == 0 {
		return randomUser(rnd)
	}
	return randomUser(rnd) + "@" + randomDomain(rnd)
}

func randomKey(rnd *rand.Rand) string {
	user := pick(rnd, "alice", "bob", "carol", "dave+x", "dave", "root", "loop", "many", "postmaster")
	switch rnd.IntN(5) {
	case 0:
		return user
	case 1:
		return "@" + randomDomain(rnd)
	}
	return user + "@" + randomDomain(rnd)
}

// randomMap is a table of addresses; the results may be looked up again.
func randomMap(rnd *rand.Rand, multi bool) string {
	if rnd.IntN(30) == 0 {
		return "fail:now"
	}
	if rnd.IntN(8) == 0 {
		return "regexp:{{/^(.*)@v\\.example$$/ $$1@w.example} {/^loop/ more@loop.example}}"
	}
	var b strings.Builder
	b.WriteString("inline:{{nobody@nowhere.example = x}")
	seen := map[string]bool{}
	for range 1 + rnd.IntN(7) {
		key := randomKey(rnd)
		if seen[key] {
			continue
		}
		seen[key] = true
		value := randomValue(rnd)
		if multi {
			for range rnd.IntN(3) {
				value += pick(rnd, ", ", " ", ",") + randomValue(rnd)
			}
		}
		fmt.Fprintf(&b, " {%s = %s}", key, value)
	}
	return b.String() + "}"
}

func randomValue(rnd *rand.Rand) string {
	switch rnd.IntN(10) {
	case 0:
		return "@" + randomDomain(rnd)
	case 1:
		return "\"q r\"@" + randomDomain(rnd)
	case 2:
		return "Some Body <" + strings.ReplaceAll(randomAddress(rnd), " ", "") + ">"
	}
	return strings.ReplaceAll(randomAddress(rnd), " ", ".")
}

func randomActions(rnd *rand.Rand, body bool) string {
	texts := []string{
		"REJECT", "REJECT no thanks", "REJECT 4.7.1 later", "REJECT 5.6.6 never", "WARN", "WARN look at this", "INFO noted", "IGNORE", "STRIP", "STRIP why not", "HOLD",
		"HOLD for now", "DISCARD", "DISCARD gone", "FILTER smtp:[filter.example]", "FILTER bad", "REDIRECT other@redirect.example", "REDIRECT nobody", "BCC copy@example.com",
		"BCC none", "DUNNO", "OK", "PASS", "PASS fine", "FOO", "PREPEND X-Added: yes", "PREPEND not a header", "REPLACE X-Replaced: yes", "REPLACE To: root, <u@host>", "REPLACE words",
		"REPLACE", "PREPEND", "2.0.0", "REJECT 2.0.0 odd",
	}
	patterns := []string{"/^Subject: .*one/", "/^Subject:/", "/^X-/", "/^To:/", "/^Message-Id:/", "/^Content-Type:/", "/boundary/", "/^From: /", "/^Bcc:/", "/^Date/", "/two/"}
	if body {
		patterns = []string{"/^first/", "/one/", "/two/", "/^--/", "/last/", "/^$$/", "/^Content-/"}
	}
	var b strings.Builder
	b.WriteString("regexp:{ ")
	for range 1 + rnd.IntN(5) {
		fmt.Fprintf(&b, "{%s %s} ", pick(rnd, patterns...), pick(rnd, texts...))
	}
	return b.String() + "}"
}

func randomCase(rnd *rand.Rand) comparedCase {
	c := comparedCase{set: map[string]string{}, local: rnd.IntN(3) > 0}
	maybe := func(n int, name string, value func() string) {
		if rnd.IntN(n) == 0 {
			c.set[name] = value()
		}
	}
	maps := func() string { return randomMap(rnd, rnd.IntN(8) == 0) }
	maybe(3, "canonical_maps", maps)
	maybe(4, "sender_canonical_maps", maps)
	maybe(4, "recipient_canonical_maps", maps)
	maybe(5, "canonical_classes", func() string {
		return pick(rnd, "envelope_sender", "header_sender, header_recipient", "envelope_recipient")
	})
	maybe(6, "sender_canonical_classes", func() string { return pick(rnd, "envelope_sender", "header_sender") })
	maybe(3, "masquerade_domains", func() string {
		return pick(rnd, "example.com", "!host.example.com example.com", "host.example.com, example.com", "sub.example")
	})
	maybe(3, "masquerade_exceptions", func() string { return pick(rnd, "root", "alice, bob", "root@example.com") })
	maybe(4, "masquerade_classes", func() string {
		return pick(rnd, "envelope_sender, envelope_recipient", "envelope_sender, header_sender, header_recipient, envelope_recipient")
	})
	maybe(2, "virtual_alias_maps", func() string { return randomMap(rnd, true) })
	maybe(8, "virtual_alias_expansion_limit", func() string { return pick(rnd, "2", "5") })
	maybe(8, "virtual_alias_recursion_limit", func() string { return pick(rnd, "1", "3") })
	maybe(8, "virtual_alias_address_length_limit", func() string { return "15" })
	maybe(3, "recipient_delimiter", func() string { return pick(rnd, "+", "-+") })
	maybe(5, "propagate_unmatched_extensions", func() string { return pick(rnd, "", "canonical", "virtual") })
	maybe(5, "always_bcc", func() string { return pick(rnd, "archive", "archive@v.example") })
	maybe(5, "sender_bcc_maps", maps)
	maybe(5, "recipient_bcc_maps", maps)
	maybe(4, "enable_original_recipient", func() string { return "no" })
	maybe(3, "header_checks", func() string { return randomActions(rnd, false) })
	maybe(6, "mime_header_checks", func() string { return randomActions(rnd, false) })
	maybe(6, "nested_header_checks", func() string { return randomActions(rnd, false) })
	maybe(3, "body_checks", func() string { return randomActions(rnd, true) })
	maybe(6, "body_checks_size_limit", func() string { return pick(rnd, "0", "10", "40") })
	maybe(8, "disable_mime_input_processing", func() string { return "yes" })
	maybe(8, "strict_7bit_headers", func() string { return "yes" })
	maybe(8, "strict_8bitmime_body", func() string { return "yes" })
	maybe(10, "strict_8bitmime", func() string { return "yes" })
	maybe(8, "strict_mime_encoding_domain", func() string { return "yes" })
	maybe(10, "message_reject_characters", func() string { return pick(rnd, "\\0", "\\0~", "\\176") })
	maybe(10, "message_strip_characters", func() string { return pick(rnd, "\\0", "~", "z~") })
	maybe(5, "always_add_missing_headers", func() string { return "yes" })
	maybe(5, "undisclosed_recipients_header", func() string { return "To: undisclosed-recipients:;" })
	maybe(6, "message_drop_headers", func() string { return pick(rnd, "bcc, x-drop", "content-type, subject") })
	c.set["remote_header_rewrite_domain"] = pick(rnd, "", "", "", "", "", "", "invalid.example")
	maybe(8, "header_size_limit", func() string { return "60" })
	maybe(10, "hopcount_limit", func() string { return "3" })
	maybe(8, "mime_nesting_limit", func() string { return "1" })
	maybe(8, "mime_boundary_length_limit", func() string { return "3" })
	maybe(4, "line_length_limit", func() string { return "512" })
	if _, ok := c.set["header_size_limit"]; ok && c.set["body_checks"] == "" {
		c.set["body_checks"] = "regexp:{ {/^nothing like this$$/ OK} }"
	}
	for range 4 {
		m := comparedMessage{sender: randomAddress(rnd), content: randomContent(rnd)}
		if rnd.IntN(8) == 0 {
			m.sender = pick(rnd, "", "MAILER-DAEMON")
		}
		for range 1 + rnd.IntN(3) {
			m.recipients = append(m.recipients, randomAddress(rnd))
		}
		c.messages = append(c.messages, m)
	}
	return c
}

func randomHeaders(rnd *rand.Rand) string {
	all := []string{
		"Subject: one\n", "Subject: this is two,\n folded\n", "From: alice\n", "From: Alice <alice@host>\n", "From: root@deep.host.example.com (The Root)\n", "To: bob, carol@v.example\n",
		"To: undisclosed-recipients:;\n", "Cc: friends: alice, \"a b\"@host.example.com, <dave+x@example.com>;, carol\n", "Bcc: secret@example.com\n", "Reply-To: <@a,@b:bob@v.example>\n",
		"Message-Id: <x@y.example>\n", "Date: Mon, 2 Nov 2026 08:38:15 +0000\n", "X-Test: one two\n", "X-Drop : me\n", "Resent-To: bob\n", "Resent-From: carol@host\n",
		"Resent-Message-Id: <r@y.example>\n", "Received: from a\n\tby b\n", "Sender: a%b@example.com\n", "Errors-To: x!y\n", "X-Long: " + strings.Repeat("word ", 30) + "\n",
		"X-Eight: caf\xc3\xa9\n", "X-Tilde: a~b\n", "Return-Path: <a@b>\n", "To: " + strings.Repeat("someone@host.example.com, ", 7) + "last@v.example\n",
		"Mime-Version: 1.0\n", "Content-Length: 3\n", "Disposition-Notification-To: root\n", "To: a@b c@d,, e\n", "Cc: (only a comment)\n", "From: \"Quoted, Name\" <alice@example.com>\n",
	}
	var b strings.Builder
	for range 1 + rnd.IntN(7) {
		b.WriteString(pick(rnd, all...))
	}
	return b.String()
}

func randomBody(rnd *rand.Rand) string {
	var b strings.Builder
	for range rnd.IntN(5) {
		b.WriteString(pick(rnd, "first line\n", "line one\n", "two and more\n", "last\n", "\n", ".\n", "caf\xc3\xa9\n", "a~b\ttab\n", "--x\n", "Content-Type: nothing\n",
			strings.Repeat("long line ", 70)+"one\n"))
	}
	return b.String()
}

func randomContent(rnd *rand.Rand) string {
	header := randomHeaders(rnd)
	// What is inside the content is put in order only where it is looked at.
	randomHeaders := func(rnd *rand.Rand) string { return strings.ReplaceAll(randomHeaders(rnd), " :", ":") }
	switch rnd.IntN(7) {
	case 0:
		return header + "Content-Type: multipart/mixed; boundary=\"bound\"\n" + pick(rnd, "", "Content-Transfer-Encoding: base64\n", "Content-Transfer-Encoding: 8bit\n") +
			"\npreamble one\n--bound\nContent-Type: text/plain; name=one\n\n" + randomBody(rnd) + "--bound\nContent-Type: message/rfc822\n\n" + randomHeaders(rnd) + "\n" +
			randomBody(rnd) + "--bound--\nlast\n"
	case 1:
		return header + "Content-Type: message/rfc822\nContent-Transfer-Encoding: " + pick(rnd, "7bit", "quoted-printable") + "\n\n" + randomHeaders(rnd) + "\n" + randomBody(rnd)
	case 2:
		return header + "Content-Type: multipart/a; boundary=one1\n\n--one1\nContent-Type: multipart/digest; boundary=two2\n\n--two2\n\n" + randomHeaders(rnd) + "\n" +
			randomBody(rnd) + "--two2--\n--one1\nno header one\n" + randomBody(rnd)
	case 3:
		return header + "no header follows\n" + randomBody(rnd)
	case 4:
		return header
	}
	return header + "\n" + randomBody(rnd)
}

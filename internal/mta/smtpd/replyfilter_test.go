package smtpd

import (
	"strings"
	"testing"
)

// Refusals that smtpd_reject_filter_maps replaces, and what it cannot put in their place.
func TestRejectFilter(t *testing.T) {
	ts := startServer(t, `
smtpd_reject_filter_maps = inline:{{500 5.5.2 Error: command not recognized=421 4.7.0 not here},
 {502 5.5.1 VRFY command is disabled=250 2.0.0 fine}, {503 5.5.1 Error: need MAIL command=550 4.5.1 mixed},
 {501 5.5.4 Syntax: RSET=450 later}}
smtpd_reject_footer = footer
disable_vrfy_command = yes
`, nil)
	d := dialogue{lines: strings.Split(strings.TrimSpace(`
S: 220 mail.example.com ESMTP Postfix
C: VRFY x
S: 502-5.5.1 VRFY command is disabled
S: 502 5.5.1 footer
C: RCPT TO:<x@y>
S: 503-5.5.1 Error: need MAIL command
S: 503 5.5.1 footer
C: RSET x
S: 450-later
S: 450 footer
C: FOO
S: 421-4.7.0 not here
S: 421 4.7.0 footer
close
`), "\n"), log: `connect from unknown[127.0.0.1]
warning: NOQUEUE: ignoring invalid reject filter result: 250 2.0.0 fine
warning: NOQUEUE: ignoring invalid reject filter result: 550 4.5.1 mixed
NOQUEUE: reply filter in: 501 5.5.4 Syntax: RSET
NOQUEUE: reply filter out: 450 later
NOQUEUE: reply filter in: 500 5.5.2 Error: command not recognized
NOQUEUE: reply filter out: 421 4.7.0 not here
disconnect from unknown[127.0.0.1] rcpt=0/1 rset=0/1 vrfy=0/1 unknown=0/1 commands=0/4
`, hasLog: true}
	transcript, _ := d.play(t, ts.addr)
	ts.awaitSessions(t)
	d.check(t, transcript, ts.log.lines(t), "")
}

// With smtpd_forbid_bare_newline = note the last line of a session tells of bare newlines.
func TestNoteBareLF(t *testing.T) {
	ts := startServer(t, "smtpd_forbid_bare_newline = note\nsmtpd_forbid_bare_newline_exclusions =\n", nil)
	d := dialogue{lines: strings.Split(strings.TrimSpace(`
S: 220 mail.example.com ESMTP Postfix
C! "NOOP\n"
S: 250 2.0.0 Ok
C: QUIT
S: 221 2.0.0 Bye
close
`), "\n"), log: "connect from unknown[127.0.0.1]\ndisconnect from unknown[127.0.0.1] noop=1 quit=1 commands=2 notes=bare_lf\n", hasLog: true}
	transcript, _ := d.play(t, ts.addr)
	ts.awaitSessions(t)
	d.check(t, transcript, ts.log.lines(t), "")
}

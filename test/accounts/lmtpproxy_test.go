package accounts

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// mailFrontend passes messages on to the servers that its users' entries name.
const mailFrontend = `mail_location = maildir:~/mail
lmtp_proxy = yes
auth_username_format = %Ln
login_trusted_networks = 127.0.0.1/32
recipient_delimiter = +
ssl_client_ca_file = @CA@
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = passwd-file
  args = @DIR@/users
  override_fields = uid=mail gid=mail home=@DIR@/mail/%n
}
`

const mailBackend = `mail_location = maildir:~/mail
auth_username_format = %Ln
login_trusted_networks = 127.0.0.1/32
lmtp_save_to_detail_mailbox = yes
lda_mailbox_autocreate = yes
recipient_delimiter = +
local 127.0.0.3 {
  ssl_cert = <@DIR@/other.pem
  ssl_key = <@DIR@/other.key
}
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = passwd-file
  args = @DIR@/users
  override_fields = uid=mail gid=mail home=@DIR@/mail/%n
}
`

// mailFrontendUsers are named after what they show.
const mailFrontendUsers = `bob:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@
carol:x:8:8::/x::proxy=y host=127.0.0.1 port=@BACK@ destuser=bob@example.com proxy_timeout=50
plain:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@ destuser=bob
note:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@ destuser=bob@example.com forward_note=a forward_b=c
here:x:8:8::/x::
unknown:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@
hostip:x:8:8::/x::proxy host=mail.invalid hostip=127.0.0.1 port=@BACK@ destuser=bob@example.com
source:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@ destuser=bob@example.com source_ip=127.0.0.5
dead:x:8:8::/x::proxy host=127.0.0.1 port=@DEAD@
babbling:x:8:8::/x::proxy host=127.0.0.1 port=@BABBLING@
closing:x:8:8::/x::proxy host=127.0.0.1 port=@CLOSING@
starttls:x:8:8::/x::proxy host=127.0.0.1 port=@BACK@ starttls=yes destuser=bob@example.com
anycert:x:8:8::/x::proxy host=127.0.0.3 port=@BACK@ starttls=any-cert destuser=bob@example.com
otherca:x:8:8::/x::proxy host=127.0.0.3 port=@BACK@ starttls=yes destuser=bob@example.com
itself:x:8:8::/x::proxy host=127.0.0.1 port=@LMTP@
loop1:x:8:8::/x::proxy host=127.0.0.1 port=@LMTP@ destuser=loop2@example.com
loop2:x:8:8::/x::proxy host=127.0.0.1 port=@LMTP@ destuser=loop1@example.com
`

// mailSessions are the recipients of one message each, with parameters.
var mailSessions = [][]string{
	{"<bob@example.com>"}, {"<bob+box@example.com>"}, {"<carol@example.com>"}, {"<carol+box@example.com>"}, {"<plain@example.com>"}, {"<note@example.com>"}, {"<here@example.com>"},
	{"<unknown@example.com>"}, {"<nosuch@example.com>"}, {"<hostip@example.com>"}, {"<source@example.com>"}, {"<dead@example.com>"}, {"<babbling@example.com>"}, {"<closing@example.com>"},
	{"<starttls@example.com>"}, {"<anycert@example.com>"}, {"<otherca@example.com>"}, {"<itself@example.com>"}, {"<loop1@example.com>"},
	{"<bob@example.com>", "<here@example.com>", "<unknown@example.com>", "<dead@example.com>", "<dead@example.com>", "<carol@example.com>", "<starttls@example.com>"},
	{"<bob@example.com> ORCPT=rfc822;first@example.net", "<here@example.com> XRCPTFORWARD=a+3Db+09c+3Dd"},
	{"<bob@example.com> XRCPTFORWARD=a+00b", "<here@example.com> XRCPTFORWARD=AA=="},
}

// TestLMTPProxy passes messages on to other servers: ours to the real one, as the real one
// to itself, and the real one to ours.
func TestLMTPProxy(t *testing.T) {
	t.Parallel()
	pairs := [][2]harness.Program{
		{harness.Original, harness.Original}, {harness.Dovetail, harness.Original}, {harness.Original, harness.Dovetail}, {harness.Dovetail, harness.Dovetail},
	}
	seen := make([][]string, len(pairs))
	t.Run("pairs", func(t *testing.T) {
		for i, pair := range pairs {
			t.Run(fmt.Sprint(pair), func(t *testing.T) {
				t.Parallel()
				seen[i] = playMailProxy(t, pair[0], pair[1])
			})
		}
	})
	for i, pair := range pairs[1:] {
		if diff := cmp.Diff(seen[0], seen[i+1]); diff != "" {
			t.Errorf("%v (-theirs +ours)\n%s", pair, diff)
		}
	}
}

func playMailProxy(t *testing.T, front, back harness.Program) (said []string) {
	t.Helper()
	other := filepath.Join(harness.Dir(t), "other")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/CN=127.0.0.3", "-addext", "subjectAltName=IP:127.0.0.3", "-keyout", other+".key", "-out", other+".pem")
	b := startMail(t, back, mailBackend, map[string]string{
		"users": "bob:x:8:8::/x::\n", "other.pem": readFile(t, other+".pem"), "other.key": readFile(t, other+".key"),
	})
	users := strings.NewReplacer("@BACK@", b.ports["@LMTP@"], "@DEAD@", fmt.Sprint(harness.FreePort(t)),
		"@BABBLING@", listener(t, func(c net.Conn) {
			fmt.Fprint(c, "* OK hello\r\n")
			io.Copy(io.Discard, c)
		}),
		"@CLOSING@", listener(t, func(c net.Conn) {
			fmt.Fprint(c, "421 4.3.2 Not now\r\n")
			c.Close()
		})).Replace(mailFrontendUsers)
	f := startMail(t, front, strings.ReplaceAll(mailFrontend, "@CA@", filepath.Join(b.dir, "cert.pem")), map[string]string{"users": users})
	for _, recipients := range mailSessions {
		said = append(said, sendThrough(t, f, recipients)...)
	}
	f.Stop()
	b.Stop()
	var sent []string // in the order of the servers' answers
	for _, line := range f.log(t, "Sent message to") {
		sent = append(sent, plainProxied(b.plain(line)))
	}
	slices.Sort(sent)
	said = append(said, sent...)
	return append(said, storedHeaders(t, filepath.Join(b.dir, "mail", "bob", "mail"))...)
}

// sendThrough sends a message, and returns the answers to recipients and content.
func sendThrough(t *testing.T, m *mailService, recipients []string) (said []string) {
	t.Helper()
	conn, err := dialFrom("127.0.0.1", m.addr("LMTP"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.until("220 ")
	conn.ask("LHLO client.example", "250 ")
	conn.ask("MAIL FROM:<sender@example.org> BODY=8BITMIME", "250 ")
	accepted := 0
	for _, r := range recipients {
		answer := conn.ask("RCPT TO:"+r, "")
		if strings.HasPrefix(answer, "250") {
			accepted++
		}
		said = append(said, r, plainProxied(answer))
	}
	if accepted == 0 {
		return said
	}
	conn.ask("DATA", "354")
	for i := range accepted {
		if i == 0 {
			said = append(said, plainProxied(conn.ask("Subject: to "+recipients[0]+"\r\n\r\n.. dots\r\n..\r\nend\r\n.", "")))
			continue
		}
		said = append(said, plainProxied(conn.until("")))
	}
	return said
}

// sessionNames are those of LMTP sessions, with what is behind them.
var sessionNames = regexp.MustCompile(`[A-Za-z0-9+/]{22}(:[TRP]\d+)*`)

var (
	millisecs  = regexp.MustCompile(`at \d+ ms\)`)
	connection = regexp.MustCompile(`conn (ADDR|127\.0\.0\.1:PORT) \[\d+\]`)
	lmtpPID    = regexp.MustCompile(`lmtp\(\d+\)`)
	portNumber = regexp.MustCompile(`127\.0\.0\.\d:(\d+|LMTP)`)
)

// plainProxied replaces what varies.
func plainProxied(line string) string {
	line = sessionNames.ReplaceAllString(line, "SESSION$1")
	line = millisecs.ReplaceAllString(line, "at N ms)")
	line = portNumber.ReplaceAllString(line, "ADDR")
	line = connection.ReplaceAllString(line, "conn ADDR")
	return lmtpPID.ReplaceAllString(line, "lmtp")
}

// storedHeaders returns the lines of all messages in a Maildir that are not of the day.
func storedHeaders(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || filepath.Base(filepath.Dir(path)) != "new" {
			return err
		}
		var message []string
		for line := range strings.Lines(readFile(t, path)) {
			line = plainProxied(strings.TrimSpace(line))
			if !strings.HasPrefix(line, "by ") && !strings.HasPrefix(line, "(using") && !strings.HasPrefix(line, "id ") && !strings.Contains(line, "; ") {
				message = append(message, line)
			}
		}
		lines = append(lines, strings.TrimPrefix(filepath.Dir(path), dir)+": "+strings.Join(message, " | "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

package accounts

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// imapAnswers are what the server says to LOGIN, by the user's name.
var imapAnswers = map[string]string{
	"refused":     "NO [AUTHENTICATIONFAILED] Authentication failed.",
	"plainno":     "NO Go away",
	"authz":       "NO [AUTHORIZATIONFAILED] Not as that one",
	"expired":     "NO [EXPIRED] Password is too old",
	"unavailable": "NO [UNAVAILABLE] Try later",
	"contact":     "NO [CONTACTADMIN] Something is wrong",
	"bad":         "BAD What?",
	"strange":     "PERHAPS come in",
	"bye":         "* BYE Too busy",
	"close":       "",
}

// An imapServer is one that only knows passwords.
type imapServer struct {
	greeting string
	secured  *tls.Config // for STARTTLS
}

func (s *imapServer) listen(t *testing.T, wrap func(net.Listener) net.Listener) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	if wrap != nil {
		l = wrap(l)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return port
}

func (s *imapServer) serve(conn net.Conn) {
	defer func() { conn.Close() }()
	fmt.Fprintf(conn, "%s\r\n", s.greeting)
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 3)
		if len(words) < 2 {
			return
		}
		switch tag, verb := words[0], strings.ToUpper(words[1]); verb {
		case "CAPABILITY":
			fmt.Fprintf(conn, "* CAPABILITY IMAP4rev1 AUTH=PLAIN%s\r\n%s OK done\r\n", s.offer(), tag)
		case "STARTTLS":
			fmt.Fprintf(conn, "%s OK begin\r\n", tag)
			conn = tls.Server(conn, s.secured)
			r = bufio.NewReader(conn)
		case "LOGIN", "AUTHENTICATE":
			user, password := s.credentials(conn, r, verb, words)
			if !answerLogin(conn, tag, user, password) {
				return
			}
		default:
			return
		}
	}
}

func (s *imapServer) offer() string {
	if s.secured != nil {
		return " STARTTLS"
	}
	return ""
}

// credentials reads the two arguments of LOGIN, which are atoms, quoted strings or
// literals, or the one of AUTHENTICATE PLAIN.
func (s *imapServer) credentials(conn net.Conn, r *bufio.Reader, verb string, words []string) (user, password string) {
	if verb == "AUTHENTICATE" {
		fmt.Fprint(conn, "+ \r\n")
		line, _ := r.ReadString('\n')
		secret, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		parts := append(strings.Split(string(secret), "\x00"), "", "", "")
		return parts[1], parts[2]
	}
	var args []string
	rest := words[2]
	for rest != "" {
		var n int
		switch rest[0] {
		case '"':
			var b strings.Builder
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' {
					i++
				}
				b.WriteByte(rest[i])
			}
			args, rest = append(args, b.String()), strings.TrimPrefix(rest[i+1:], " ")
		case '{':
			fmt.Sscanf(rest, "{%d}", &n)
			fmt.Fprint(conn, "+ go on\r\n")
			text := make([]byte, n)
			io.ReadFull(r, text)
			line, _ := r.ReadString('\n')
			args, rest = append(args, string(text)), strings.TrimSpace(line)
		default:
			word, after, _ := strings.Cut(rest, " ")
			args, rest = append(args, word), after
		}
	}
	args = append(args, "", "")
	return args[0], args[1]
}

// answerLogin reports whether the connection stays.
func answerLogin(conn net.Conn, tag, user, password string) bool {
	answer, special := imapAnswers[user]
	switch {
	case special && answer == "":
		return false
	case strings.HasPrefix(answer, "* "):
		fmt.Fprintf(conn, "%s\r\n", answer)
		return false
	case special:
		fmt.Fprintf(conn, "%s %s\r\n", tag, answer)
	case password == `sec"ret\` || password == "schlüssel":
		fmt.Fprintf(conn, "%s OK [CAPABILITY IMAP4rev1] Logged in\r\n", tag)
	default:
		fmt.Fprintf(conn, "%s NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", tag)
	}
	return true
}

// imapLogins are logins, and what becomes of them.
const imapLogins = `alice / sec"ret\ : OK
alice / wrong : FAIL
alice / : FAIL
umlaut / schlüssel : OK
refused / x : FAIL
plainno / x : FAIL
authz / x : FAIL
expired / x : FAIL code=pass_expired
unavailable / x : FAIL code=temp_fail
contact / x : FAIL code=temp_fail
bad / x : FAIL code=temp_fail
strange / x : FAIL code=temp_fail
bye / x : FAIL code=temp_fail
close / x : FAIL code=temp_fail
`

// TestIMAP has another server decide, in every way that it can and cannot.
func TestIMAP(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	harness.Certificate(t, dir)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secured := &tls.Config{Certificates: []tls.Certificate{pair}}
	const ok = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready"
	plain := (&imapServer{greeting: ok}).listen(t, nil)
	const (
		right = "alice / sec\"ret\\ : OK\nalice / wrong : FAIL\n"
		down  = "alice / sec\"ret\\ : FAIL code=temp_fail\nalice / wrong : FAIL code=temp_fail\n"
	)
	overTLS := func(l net.Listener) net.Listener { return tls.NewListener(l, secured) }
	for name, scenario := range map[string]struct{ args, logins string }{
		"plain":         {fmt.Sprintf("host=127.0.0.1 port=%d", plain), imapLogins},
		"no greeting":   {fmt.Sprintf("host=127.0.0.1 port=%d", (&imapServer{greeting: "* BYE no"}).listen(t, nil)), down},
		"preauth":       {fmt.Sprintf("host=127.0.0.1 port=%d", (&imapServer{greeting: "* PREAUTH welcome"}).listen(t, nil)), down},
		"not imap":      {fmt.Sprintf("host=127.0.0.1 port=%d", (&imapServer{greeting: "220 ESMTP"}).listen(t, nil)), down},
		"unreachable":   {fmt.Sprintf("host=127.0.0.1 port=%d", harness.FreePort(t)), down},
		"username":      {fmt.Sprintf("host=127.0.0.1 port=%d username=refused", plain), "alice / sec\"ret\\ : FAIL\n"},
		"no STARTTLS":   {fmt.Sprintf("host=127.0.0.1 port=%d ssl=starttls allow_invalid_cert=yes", plain), down},
		"STARTTLS":      {fmt.Sprintf("host=127.0.0.1 port=%d ssl=starttls allow_invalid_cert=yes", (&imapServer{greeting: "* OK ready", secured: secured}).listen(t, nil)), right},
		"TLS":           {fmt.Sprintf("host=localhost port=%d ssl=imaps allow_invalid_cert=yes", (&imapServer{greeting: ok}).listen(t, overTLS)), right},
		"authority":     {fmt.Sprintf("host=localhost port=%d ssl=imaps ssl_ca_file=%s", (&imapServer{greeting: ok}).listen(t, overTLS), cert), right},
		"not authority": {fmt.Sprintf("host=localhost port=%d ssl=imaps ssl_ca_file=%s", (&imapServer{greeting: ok}).listen(t, overTLS), otherAuthority(t)), down},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests strings.Builder
			var want []string
			for line := range strings.Lines(scenario.logins) {
				login, result, _ := strings.Cut(strings.TrimSpace(line), " : ")
				fmt.Fprintf(&requests, "AUTH %s\n", login)
				want = append(want, login+" : "+result)
			}
			files := map[string]string{
				"dovecot.conf": "auth_verbose = yes\nauth_username_chars =\npassdb {\n  driver = imap\n  args = " + scenario.args + "\n}\nuserdb {\n  driver = static\n  args = uid=8 gid=8 home=/srv/%n\n}\n",
				"requests":     requests.String(),
			}
			if got := imapResults(play(t, harness.Dovetail, files)); !cmp.Equal(got, want) {
				t.Errorf("Dovetail:\n%s", cmp.Diff(want, got))
			}
			if strings.Contains(name, "authority") {
				return // the auth process of Dovecot 2.3.19 dies when it is to look at a certificate
			}
			theirs := imapResults(play(t, harness.Original, files))
			for i, line := range theirs {
				// Dovecot 2.3.19 takes every refusal for a temporary failure.
				login, result, _ := strings.Cut(line, " : ")
				if word, _, _ := strings.Cut(result, " "); !strings.HasPrefix(want[i], login+" : "+word) {
					t.Errorf("Dovecot: %s, want %s", line, want[i])
				}
			}
		})
	}
}

// imapResults are logins and what became of them, in the form of imapLogins.
func imapResults(answers []string) []string {
	var results []string
	for i := 1; i < len(answers); i += 2 {
		login, ok := strings.CutPrefix(answers[i-1], "AUTH ")
		if !ok {
			break
		}
		fields := strings.Split(answers[i], "\t")
		result := fields[0]
		for _, f := range fields {
			if strings.HasPrefix(f, "code=") {
				result += " " + f
			}
		}
		results = append(results, login+" : "+result)
	}
	return results
}

// otherAuthority returns a file with a certificate that signed nobody else's.
func otherAuthority(t *testing.T) string {
	t.Helper()
	dir := harness.Dir(t)
	path := filepath.Join(dir, "other.pem")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
		"-keyout", filepath.Join(dir, "other.key"), "-out", path, "-days", "30", "-subj", "/CN=other")
	return path
}

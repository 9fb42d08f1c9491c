package posttls

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A server speaks SMTP, with TLS after STARTTLS, as much as posttls-finger wants.
type server struct {
	net.Listener
	cert tls.Certificate
	say  map[string]string // instead of the usual
	wrap bool
}

func start(t *testing.T, cert tls.Certificate, wrap bool, say map[string]string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &server{l, cert, say, wrap}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.talk(c)
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (s *server) secure(c net.Conn) (net.Conn, error) {
	conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}, CurvePreferences: []tls.CurveID{tls.X25519}, SessionTicketsDisabled: true})
	return conn, conn.Handshake()
}

func (s *server) talk(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	var err error
	if s.wrap {
		if c, err = s.secure(c); err != nil {
			return
		}
	}
	answers := map[string]string{
		"greeting": "220 mx.test ESMTP", "EHLO": "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS", "LHLO": "250-mx.test\r\n250 STARTTLS", "STARTTLS": "220 2.0.0 Ready", "QUIT": "221 2.0.0 Bye",
	}
	answer := func(word string) bool {
		text, ok := s.say[word]
		if !ok {
			text = answers[word]
		}
		fmt.Fprintf(c, "%s\r\n", text)
		return text != "" && text[0] == '2'
	}
	answer("greeting")
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ok := answer(word); ok && word == "STARTTLS" {
			if c, err = s.secure(c); err != nil {
				return
			}
			r = bufio.NewReader(c)
		}
	}
}

// TestLikePostfix compares what ours and the real posttls-finger say of the same servers.
func TestLikePostfix(t *testing.T) {
	if _, err := exec.LookPath("posttls-finger"); err != nil {
		t.Fatal("posttls-finger is not installed: run test/install-packages")
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile, "-out", certFile,
		"-subj", "/O=Example/CN=mx.test", "-addext", "subjectAltName=DNS:mx.test,DNS:localhost", "-days", "9")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "etc")
	harness.Write(t, filepath.Join(config, "main.cf"), "compatibility_level = 3.6\nmyhostname = mail.example.org\ninet_protocols = ipv4\n")
	t.Setenv("MAIL_CONFIG", config)
	fingerprints := harness.Run(t, "", "sh", "-c", "openssl x509 -in "+certFile+" -outform DER | sha256sum | cut -d' ' -f1 | tr a-f A-F | sed 's/../&:/g;s/:$//'")
	words := map[string]string{
		"GOOD": start(t, cert, false, nil), "WRAPPED": start(t, cert, true, nil),
		"NOTLS": start(t, cert, false, map[string]string{"EHLO": "250 mx.test"}), "REFUSED": start(t, cert, false, map[string]string{"STARTTLS": "454 4.7.0 not now"}),
		"BUSY": start(t, cert, false, map[string]string{"greeting": "421 4.3.2 busy"}), "NOEHLO": start(t, cert, false, map[string]string{"EHLO": "500 5.5.1 what", "LHLO": "500 5.5.1 what"}),
		"NOBODY": fmt.Sprint(harness.FreePort(t)), "CERT": certFile, "KEY": keyFile, "PRINT": strings.TrimSpace(fingerprints),
	}
	for _, args := range []string{
		"[127.0.0.1]:GOOD", "-c [127.0.0.1]:GOOD", "-l may [127.0.0.1]:GOOD", "-l none [127.0.0.1]:GOOD", "-l encrypt -L summary,peercert [127.0.0.1]:GOOD",
		"-l secure -F CERT [127.0.0.1]:GOOD", "-l secure -F CERT [127.0.0.1]:GOOD mx.test", "-l verify -F CERT [127.0.0.1]:GOOD", "-c -l verify -F CERT -h native [localhost]:GOOD",
		"-c -l secure -A CERT [127.0.0.1]:GOOD mx.test other.test", "-c -l fingerprint [127.0.0.1]:GOOD PRINT", "-c -l fingerprint -d sha1 [127.0.0.1]:GOOD", "-cC -L none [127.0.0.1]:GOOD", "-C -l may [127.0.0.1]:GOOD",
		"-c -L routine -p <=TLSv1.2 [127.0.0.1]:GOOD", "-w -l encrypt [127.0.0.1]:WRAPPED", "-S [127.0.0.1]:GOOD", "-S inet:127.0.0.1:GOOD", "-k CERT -K KEY -c [127.0.0.1]:GOOD",
		"-o myhostname=other.example.org [127.0.0.1]:GOOD", "-l bogus [127.0.0.1]:GOOD",
		"[127.0.0.1]:NOTLS", "[127.0.0.1]:REFUSED", "[127.0.0.1]:BUSY", "[127.0.0.1]:NOEHLO", "-S [127.0.0.1]:NOEHLO", "[127.0.0.1]:NOBODY", "", "-z x",
	} {
		t.Run(args, func(t *testing.T) {
			var list []string
			for _, arg := range strings.Fields(args) {
				for word, text := range words {
					arg = strings.ReplaceAll(arg, word, text)
				}
				list = append(list, arg)
			}
			real := exec.Command("posttls-finger", list...)
			var want, said, got, answered bytes.Buffer
			real.Stdout, real.Stderr = &want, &said
			real.Run() //nolint:errcheck // the status is compared
			status := Main(list, nil, &got, &answered)
			if status != real.ProcessState.ExitCode() {
				t.Errorf("status %d, the real one's %d", status, real.ProcessState.ExitCode())
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("output: -real +ours\n%s", diff)
			}
			if diff := cmp.Diff(tidy(said.String()), tidy(answered.String())); diff != "" {
				t.Errorf("log: -real +ours\n%s", diff)
			}
		})
	}
}

var library = regexp.MustCompile(`(TLS library problem: ).*`)

func tidy(text string) string { return library.ReplaceAllString(text, "$1...") }

package smtpd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// startMilter starts a milter program with a file of settings and returns its address.
func startMilter(t *testing.T, program, conf string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is not installed: run test/install-packages", program)
	}
	dir := harness.Dir(t)
	port := harness.FreePort(t)
	conf = strings.NewReplacer("DIR", dir, "SOCKET", fmt.Sprintf("inet:%d@127.0.0.1", port)).Replace(conf)
	harness.Write(t, filepath.Join(dir, "conf"), conf)
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(path, append(args, filepath.Join(dir, "conf"))...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		cmd.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-over
	})
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	harness.Eventually(t, program+" listens", func() bool {
		select {
		case <-over:
			text, _ := os.ReadFile(out.Name())
			t.Fatalf("%s does not start: %s", program, text)
		default:
		}
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return addr
}

// TestOpenDKIM has the real OpenDKIM sign a message of this system, verify it when it comes from
// elsewhere, and tell of one whose body was changed on the way. The real OpenDMARC reads what it says.
func TestOpenDKIM(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("OpenDKIM wants its key to be of its user")
	}
	keys := harness.Dir(t)
	if out, err := exec.Command("opendkim-genkey", "-D", keys, "-d", "example.com", "-s", "sel").CombinedOutput(); err != nil {
		t.Fatalf("opendkim-genkey: %v: run test/install-packages\n%s", err, out)
	}
	record, err := os.ReadFile(filepath.Join(keys, "sel.txt"))
	if err != nil {
		t.Fatal(err)
	}
	key := ""
	for _, m := range regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(string(record), -1) {
		key += m[1]
	}
	harness.Write(t, filepath.Join(keys, "public"), "sel._domainkey.example.com "+key+"\n")
	dkim := startMilter(t, "opendkim", "Socket SOCKET\nMode sv\nDomain example.com\nSelector sel\nKeyFile "+keys+"/sel.private\nTestPublicKeys "+keys+
		"/public\nAlwaysAddARHeader yes\nAuthservID mail.example.com\nBackground no\nRequireSafeKeys no\n", "-f", "-x")
	ts := startServer(t, "smtpd_milters = inet:"+dkim+"\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n", nil)
	send := func(before, content string) string {
		conn := dial(t, ts.addr)
		defer conn.Close()
		fmt.Fprintf(conn, "%sEHLO c\r\nMAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n", before)
		fmt.Fprintf(conn, "%s.\r\nQUIT\r\n", content)
		if dialogue := readAll(t, conn); !strings.Contains(dialogue, "queued as") {
			t.Fatalf("not taken:\n%s\n%s", dialogue, ts.log.lines(t))
		}
		return ts.queue.messages[len(ts.queue.messages)-1].body.String()
	}
	body := strings.Repeat("a line of the body, of which there are many\r\n", 5000)
	signed := send("", "From: alice@example.com\r\nTo: bob@example.com\r\nSubject: signed\r\nDate: Mon, 23 Nov 2026 01:02:03 +0000\r\nMessage-Id: <1@example.com>\r\n\r\n"+body)
	if !strings.HasPrefix(signed, "DKIM-Signature: v=1; a=rsa-sha256;") || !strings.HasSuffix(signed, "\r\n\r\n"+body) {
		t.Fatalf("not signed:\n%.1000s", signed)
	}
	const elsewhere = "XCLIENT ADDR=192.0.2.1 NAME=mx.example.org\r\n"
	verified := send(elsewhere, signed)
	if !strings.Contains(verified, "Authentication-Results: mail.example.com;\r\n\tdkim=pass") {
		t.Errorf("not verified:\n%.1500s\n%s", verified, ts.log.lines(t))
	}
	forged := send(elsewhere, strings.Replace(signed, "a line of", "a lie of", 1))
	if !strings.Contains(forged, "dkim=fail") {
		t.Errorf("a forgery is not found out:\n%.1500s", forged)
	}
	// OpenDMARC, behind OpenDKIM, finds nothing to complain about in what has no policy.
	dmarc := startMilter(t, "opendmarc", "Socket SOCKET\nAuthservID mail.example.com\nTrustedAuthservIDs mail.example.com\nBackground no\nSPFIgnoreResults true\n", "-f", "-c")
	ts = startServer(t, "smtpd_milters = inet:"+dkim+", inet:"+dmarc+"\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n", nil)
	if both := send(elsewhere, signed); !strings.Contains(both, "dmarc=") || !strings.Contains(both, "dkim=pass") {
		t.Errorf("not both milters have told what they found:\n%.1500s\n%s", both, ts.log.lines(t))
	}
}

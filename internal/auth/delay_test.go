package auth

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// TestDelays has wrong passwords answered late, and later with each failure,
// while others on the same connection do not wait.
func TestDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stop := pipeServer(t)
		defer stop()
		r := bufio.NewReader(conn)
		for line := ""; line != "DONE\n"; {
			line, _ = r.ReadString('\n')
		}
		start := time.Now()
		ask := func(id int, ip, password string) {
			resp := base64.StdEncoding.EncodeToString([]byte("\x00alice\x00" + password))
			fmt.Fprintf(conn, "AUTH\t%d\tPLAIN\tservice=imap\trip=%s\tresp=%s\n", id, ip, resp)
		}
		expect := func(want string, after time.Duration) {
			t.Helper()
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) || time.Since(start) != after {
				t.Errorf("after %v: %q, %v; want %q after %v", time.Since(start), line, err, want, after)
			}
		}
		fmt.Fprint(conn, "VERSION\t1\t2\nCPID\t7\n")
		ask(1, "192.0.2.1", "wrong")
		ask(2, "192.0.2.2", "secret")
		expect("OK\t2\t", 0)
		expect("FAIL\t1\t", 2*time.Second)
		ask(3, "192.0.2.1", "wrong, too") // waits 4 s for the first failure
		expect("FAIL\t3\t", 8*time.Second)
		ask(4, "192.0.2.1", "secret") // waits 8 s for both
		expect("OK\t4\t", 16*time.Second)
		ask(5, "192.0.2.1", "secret")
		expect("OK\t5\t", 16*time.Second)
		fmt.Fprint(conn, "AUTH\t6\tPLAIN\tservice=imap\n")
		expect("CONT\t6\t", 16*time.Second)
		ask(7, "192.0.2.3", "wrong")
		fmt.Fprint(conn, "CONT\t7\tAAAA\n") // while its failure waits
		expect("FAIL\t7\treason=Unexpected continuation", 16*time.Second)
		line, err := r.ReadString('\n') // request 6 is given up
		if waited := time.Since(start); err != nil || line != "FAIL\t6\treason=Authentication request timed out\n" || waited < requestTimeout || waited > requestTimeout+30*time.Second {
			t.Errorf("after %v: %q, %v", waited, line, err)
		}
	})
}

// pipeServer serves one connection, inside a synctest bubble.
func pipeServer(t *testing.T) (net.Conn, func()) {
	set := &Settings{Mechanisms: "plain", UsernameFormat: "%Lu", VerbosePasswords: "no", FailureDelay: 2 * time.Second}
	passdb := dovecot.Passdb{Driver: "static", Args: "password=secret", Skip: "never", ResultSuccess: "return-ok", ResultFailure: "continue", ResultInternalfail: "continue"}
	s, err := newServer(set, &dovecot.Auth{Passdbs: []dovecot.Passdb{passdb}}, &db.Env{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		newClientConn(s, server, KindClient).serve(context.Background())
		close(done)
	}()
	return client, func() {
		client.Close()
		<-done
	}
}

package screen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Println("tests that start servers need root: left out")
		return
	}
	os.Exit(m.Run())
}

// A client that passed is known to the next server, whichever that is, and its mail is accepted by the SMTP server behind.
func TestSwitching(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	tr := harness.NewTransport(t, harness.Original, harness.TransportOptions{
		Main: "postscreen_access_list =\npostscreen_greet_wait = 1s\nsmtpd_relay_restrictions = reject_unauth_destination\n" +
			"postscreen_greet_action = drop\n",
		Master: addr + " inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\n",
	})
	for i, step := range []struct {
		program harness.Program
		before  []string // clients that are known
		client  string   // that is not
	}{
		{harness.Original, nil, "127.0.0.21"},
		{harness.Dovetail, []string{"127.0.0.21"}, "127.0.0.22"},
		{harness.Dovetail, []string{"127.0.0.21", "127.0.0.22"}, "127.0.0.23"},
		{harness.Original, []string{"127.0.0.21", "127.0.0.22", "127.0.0.23"}, "127.0.0.24"},
	} {
		tr.Program = step.program
		tr.Start(t)
		harness.WaitTCP(t, tr.Process, addr)
		for _, client := range step.before {
			send(t, tr, addr, client, "PASS OLD", i)
		}
		send(t, tr, addr, step.client, "PASS NEW", i)
		if step.program == harness.Dovetail {
			harness.Run(t, "", harness.Binary(t), "postfix", "-c", tr.Config, "reload")
		}
		send(t, tr, addr, step.client, "PASS OLD", i)
		tr.Stop()
		if step.program == harness.Original {
			harness.Eventually(t, "Postfix is gone", func() bool {
				conn, err := net.Dial("tcp", tr.SMTP)
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
		}
	}
}

// send sends a message from an address, and waits until the log has the verdict about it.
func send(t *testing.T, tr *harness.Transport, addr, client, verdict string, step int) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	sender := fmt.Sprintf("step%d-%s@origin.test", step, strings.ReplaceAll(verdict, " ", "-"))
	for _, command := range []string{"", "EHLO client.test", "MAIL FROM:<" + sender + ">", "RCPT TO:<" + harness.User(0) + ">", "DATA", "Subject: x\r\n\r\nx\r\n.", "QUIT"} {
		if command != "" {
			io.WriteString(conn, command+"\r\n")
		}
		for {
			reply, err := r.ReadString('\n')
			if err != nil || reply[0] != '2' && reply[0] != '3' {
				t.Fatalf("step %d, %s: %q is answered %q, %v", step, client, command, reply, err)
			}
			if reply[3] == ' ' {
				break
			}
		}
	}
	port := conn.LocalAddr().(*net.TCPAddr).Port
	want := []string{fmt.Sprintf("%s [%s]:%d", verdict, client, port), "client=unknown[" + client + "]"}
	harness.Eventually(t, strings.Join(want, " and "), func() bool {
		log, err := os.ReadFile(tr.Log)
		return err == nil && strings.Contains(string(log), want[0]) && strings.Contains(string(log), want[1])
	})
}

package smtpd

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
)

// startAuth starts a server of Dovecot's auth protocol that knows one user,
// alice with the password "secret", and returns its address.
func startAuth(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveAuth(conn)
		}
	}()
	return l.Addr().String()
}

func serveAuth(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintf(conn, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nMECH\tANONYMOUS\tanonymous\nMECH\tEXTERNAL\tprivate\nSPID\t1\nCUID\t1\nCOOKIE\t0123456789abcdef0123456789abcdef\nDONE\n")
	r := bufio.NewReader(conn)
	user := map[string]string{} // of LOGIN under way, by request id
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case f[0] == "AUTH" && f[2] == "PLAIN" && strings.HasPrefix(f[len(f)-1], "resp="):
			plain, _ := base64.StdEncoding.DecodeString(f[len(f)-1][len("resp="):])
			part := strings.Split(string(plain), "\x00")
			if len(part) != 3 {
				fmt.Fprintf(conn, "FAIL\t%s\treason=invalid input\n", f[1])
				continue
			}
			decide(conn, f[1], part[1], part[2])
		case f[0] == "AUTH" && f[2] == "PLAIN":
			fmt.Fprintf(conn, "CONT\t%s\t\n", f[1])
		case f[0] == "AUTH" && f[2] == "LOGIN":
			fmt.Fprintf(conn, "CONT\t%s\t%s\n", f[1], base64.StdEncoding.EncodeToString([]byte("Username:")))
			user[f[1]] = ""
		case f[0] == "CONT":
			data, _ := base64.StdEncoding.DecodeString(f[2])
			name, login := user[f[1]]
			switch {
			case !login:
				part := strings.Split(string(data), "\x00")
				decide(conn, f[1], part[len(part)-2], part[len(part)-1])
			case name == "":
				user[f[1]] = string(data)
				fmt.Fprintf(conn, "CONT\t%s\t%s\n", f[1], base64.StdEncoding.EncodeToString([]byte("Password:")))
			default:
				decide(conn, f[1], name, string(data))
			}
		}
	}
}

func decide(conn net.Conn, id, user, password string) {
	switch {
	case user == "alice" && password == "secret":
		fmt.Fprintf(conn, "OK\t%s\tuser=alice\n", id)
	case user == "temp":
		fmt.Fprintf(conn, "FAIL\t%s\tuser=temp\ttemp\n", id)
	case user == "reason":
		fmt.Fprintf(conn, "FAIL\t%s\tuser=reason\treason=go away\n", id)
	default:
		fmt.Fprintf(conn, "FAIL\t%s\tuser=%s\n", id, user)
	}
}

package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// values takes what a command prints.
type values struct {
	list    []string
	streams int
}

func (v *values) Value(s string) { v.list = append(v.list, s) }

func (v *values) Stream(r io.Reader) error {
	b, err := io.ReadAll(r)
	v.list, v.streams = append(v.list, string(b)), v.streams+1
	return err
}

// serve answers one client's commands: each argument, escaped, is printed; so is the text that comes
// with the command "read".
func serve(conn net.Conn, p Policy) error {
	defer conn.Close()
	s, err := Accept(conn, p)
	if err != nil {
		return err
	}
	for {
		cmd, err := s.Next()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return err
		}
		s.Log(maillog.Warning, "two\nlines")
		out := bufio.NewWriter(s)
		if cmd.Name == "read" {
			text, err := io.ReadAll(s.Input())
			if err != nil {
				return err
			}
			cmd.Args = append(cmd.Args, string(text))
		}
		for _, arg := range cmd.Args {
			line := (&Command{Name: arg}).append(nil)
			out.Write(line[2 : len(line)-1])
			out.WriteString("\t")
		}
		out.Flush()
		status := 0
		fmt.Sscan(cmd.User, &status)
		if err := s.Finish(status); err != nil {
			return err
		}
	}
}

func TestCommands(t *testing.T) {
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- serve(theirs, Policy{Password: "pa\tss"}) }()
	var logged []string
	c, err := Connect(ours, Credentials{Username: "doveadm", Password: "pa\tss"}, func(level maillog.Level, text string) {
		logged = append(logged, fmt.Sprint(level, text))
	})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("\x00\x01\t\r\n.x", 10000)
	for _, try := range []struct {
		cmd   Command
		input io.Reader
		want  []string
	}{
		{Command{Name: "none"}, nil, nil},
		{Command{Name: "some", Args: []string{"", "a", "\t\n\r\x00\x01", "é"}}, nil, []string{"", "a", "\t\n\r\x00\x01", "é"}},
		{Command{Name: "long", Args: []string{long, "b"}}, nil, []string{long, "b"}},
		{Command{Name: "exact", Args: []string{long[:valueSize], long[:valueSize-1], long[:valueSize+1]}}, nil, []string{long[:valueSize], long[:valueSize-1], long[:valueSize+1]}},
		{Command{Name: "read"}, strings.NewReader(""), []string{""}},
		{Command{Name: "read"}, strings.NewReader("a\n"), []string{"a\r\n"}},
		{Command{Name: "read"}, strings.NewReader("\r\n.\r\n..\n.x\r.\n\r\r\n"), []string{"\r\n.\r\n..\r\n.x\r.\r\n\r\r\n"}},
		{Command{Name: "read"}, strings.NewReader(strings.Repeat("x", 40000) + "\r"), []string{strings.Repeat("x", 40000) + "\r"}},
	} {
		var got values
		status, err := c.Do(&try.cmd, try.input, &got)
		if diff := cmp.Diff(try.want, got.list); status != 0 || err != nil || diff != "" {
			t.Fatalf("%s: status %d, %v\n%.500s", try.cmd.Name, status, err, diff)
		}
	}
	for _, want := range []int{exUsage, exData, exNoUser, exNotFound, exTempFail, exNoPerm, exNoSync} {
		if status, err := c.Do(&Command{User: fmt.Sprint(want), Name: "none"}, nil, &values{}); status != want || err != nil {
			t.Errorf("status %d comes as %d, %v", want, status, err)
		}
	}
	if status, err := c.Do(&Command{User: "2", Name: "none"}, nil, &values{}); status != exTempFail || err != nil {
		t.Errorf("a status without name comes as %d, %v", status, err)
	}
	c.Close()
	if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if len(logged) < 2 || logged[0] != fmt.Sprint(maillog.Warning, "two") || logged[1] != fmt.Sprint(maillog.Warning, "lines") {
		t.Errorf("logged %q", logged)
	}
}

// What a client says before it is authenticated, and what it is answered. As the real server does.
func TestHandshake(t *testing.T) {
	const version, answer = "VERSION\tdoveadm-server\t1\t2\n", "VERSION\tdoveadm-client\t1\t2\n"
	for _, try := range []struct {
		name, says string
		policy     Policy
		answer     string
		wrong      string
	}{
		{"trusted", version, Policy{Trusted: true}, answer + "+\n", ""},
		{"old trusted", "VERSION\tdoveadm-server\t1\t0\n", Policy{Trusted: true}, "+\n", ""},
		{"password", version + "PLAIN\tAGRvdmVhZG0AcGFzcw==\n", Policy{Password: "pass"}, answer + "-\n+\n", ""},
		{"wrong password", version + "PLAIN\tAGRvdmVhZG0AcGFzcw==\n", Policy{Password: "pass2"}, answer + "-\n-\n", "wrong password"},
		{"no password here", version + "PLAIN\tAGRvdmVhZG0A\n", Policy{}, answer + "-\n-\n", "doveadm_password not set"},
		{"another user", version + "PLAIN\tAGFkbWluAHBhc3M=\n", Policy{Password: "pass"}, answer + "-\n-\n", "didn't authenticate as 'doveadm'"},
		{"no base64", version + "PLAIN\t!\n", Policy{Password: "pass"}, answer + "-\n-\n", "invalid base64"},
		{"another mechanism", version + "DOVEADM-TOKEN\tx\n", Policy{Password: "pass"}, answer + "-\n-\n", "non-PLAIN"},
		{"no TLS here", version + "STARTTLS\n", Policy{Password: "pass"}, answer + "-\n-\n", "ssl is not set up"},
		{"another service", "VERSION\tdoveadm-client\t1\t2\n", Policy{Trusted: true}, "", "not compatible"},
		{"another major version", "VERSION\tdoveadm-server\t2\t0\n", Policy{Trusted: true}, "", "not compatible"},
		{"no version", "PLAIN\tAGRvdmVhZG0AcGFzcw==\n", Policy{Password: "pass"}, "", "not compatible"},
		{"nothing", "", Policy{Password: "pass"}, "", "disconnected before handshake"},
	} {
		t.Run(try.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			var got []byte
			read := make(chan struct{})
			go func() {
				got, _ = io.ReadAll(ours)
				close(read)
			}()
			go func() {
				io.WriteString(ours, try.says)
				if try.wrong == "disconnected before handshake" {
					ours.Close()
				}
			}()
			_, err := Accept(theirs, try.policy)
			theirs.Close()
			<-read
			if string(got) != try.answer {
				t.Errorf("answer %q, want %q", got, try.answer)
			}
			if (err == nil) != (try.wrong == "") || err != nil && !strings.Contains(err.Error(), try.wrong) {
				t.Errorf("error %v, want %q", err, try.wrong)
			}
		})
	}
}

// What a server may say that it must not.
func TestServersMistakes(t *testing.T) {
	for _, try := range []struct{ says, wrong string }{
		{"VERSION\tdoveadm-client\t9\t2\n", "not compatible"},
		{"hello\n", "not compatible"},
		{"+\nv\n", "broken print input"},
		{"+\n\nmaybe\n", "expected cmd reply"},
		{"+\nv", "unexpected EOF"},
		{"+\nv\t", "unexpected EOF"},
		{"VERSION\tdoveadm-client\t1\t2\n+\n\x00\x00\x00\x00\x05v\t", "unexpected EOF"},
		{"-\n-\n", "authentication failed"},
	} {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		go func() {
			io.WriteString(theirs, try.says)
			theirs.Close()
		}()
		c, err := Connect(ours, Credentials{Password: "x"}, nil)
		if err == nil {
			_, err = c.Do(&Command{Name: "x"}, nil, &values{})
		}
		if err == nil || !strings.Contains(err.Error(), try.wrong) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%q: error %v, want %q", try.says, err, try.wrong)
		}
		ours.Close()
	}
}

func FuzzServer(f *testing.F) {
	f.Add([]byte("VERSION\tdoveadm-server\t1\t2\n\tu\tread\tx\na\n..\n.\n\tu\tlist\n"))
	f.Add([]byte("VERSION\tdoveadm-server\t1\t0\nD\tu\tmailbox list\t-s\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		serve(&fakeConn{r: bytes.NewReader(said)}, Policy{Trusted: true})
	})
}

func FuzzClient(f *testing.F) {
	f.Add([]byte("VERSION\tdoveadm-client\t1\t2\n+\n\x00\x00\x00\x00\x09a\tb\x01t\t\n+\n"))
	f.Add([]byte("+\nL\x00\x00\x00\x05\x04a\nb\n\n-NOUSER\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		c, err := Connect(&fakeConn{r: bytes.NewReader(said)}, Credentials{Password: "x"}, func(maillog.Level, string) {})
		for err == nil {
			var v values
			if _, err = c.Do(&Command{Name: "x"}, nil, &v); err == nil && slices.ContainsFunc(v.list, func(s string) bool { return len(s) > len(said) }) {
				t.Errorf("value of %d bytes from %d", len(v.list[0]), len(said))
			}
		}
	})
}

// A fakeConn has what the peer says, and takes everything.
type fakeConn struct {
	net.Conn
	r *bytes.Reader
}

func (c *fakeConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *fakeConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *fakeConn) Close() error                { return nil }
func (c *fakeConn) SetDeadline(time.Time) error { return nil }

package haproxy

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair returns the ends of a connection between sockets.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair") //nolint:gosec // a descriptor
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return ends[0], ends[1]
}

// FuzzRead gives a header in pieces: it is read as if it had come at once, and what is behind it stays.
func FuzzRead(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in+"QUIT"), uint8(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8) {
		want, length, wantErr := Parse(in)
		client, server := pair(t)
		defer client.Close()
		defer server.Close()
		go func() {
			for b := in; len(b) > 0; {
				n := min(int(piece)+1, len(b))
				if _, err := client.Write(b[:n]); err != nil {
					break
				}
				b = b[n:]
			}
			client.(*net.UnixConn).CloseWrite()
		}()
		got, err := Read(server, time.Minute)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: read %+v, %v; parsed %+v, %v", in, got, err, want, wantErr)
		}
		if err != nil {
			return
		}
		if got.Raw != string(in[:length]) {
			t.Errorf("%q: the header is %q", in, got.Raw)
		}
		want.Raw = got.Raw
		if got != want {
			t.Errorf("%q: read %+v, parsed %+v", in, got, want)
		}
		if rest, err := io.ReadAll(server); err != nil || string(rest) != string(in[length:]) {
			t.Errorf("%q: %q is left, %v", in, rest, err)
		}
	})
}

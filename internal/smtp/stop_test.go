package smtp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A reader that moves its deadline after it was told to stop does not wait.
func TestSetStop(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var stopping atomic.Bool
	r := NewReader(conn, 100)
	r.SetTimeout(time.Minute)
	r.SetStop(&stopping)
	stopping.Store(true)
	conn.SetReadDeadline(time.Unix(1, 0))
	if _, err := r.ReadLine(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

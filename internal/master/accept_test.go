package master

import (
	"context"
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
)

// A flakyListener fails with its errors, then has connections.
type flakyListener struct {
	net.Listener
	errs []error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		conn, _ := net.Pipe()
		return conn, nil
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func TestAccept(t *testing.T) {
	full := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	for _, tt := range []struct {
		name     string
		errs     []error
		conn     bool
		err      error
		warnings int
	}{
		{"a connection", nil, true, nil, 0},
		{"descriptors were used up", []error{full, full}, true, nil, 2},
		{"closed", []error{full, net.ErrClosed}, false, nil, 1},
		{"no listener", []error{syscall.EINVAL}, false, syscall.EINVAL, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var warnings []error
			conn, err := Accept(context.Background(), &flakyListener{errs: tt.errs}, func(err error) { warnings = append(warnings, err) })
			if (conn != nil) != tt.conn || !errors.Is(err, tt.err) || len(warnings) != tt.warnings ||
				slices.ContainsFunc(warnings, func(err error) bool { return !errors.Is(err, syscall.EMFILE) }) {
				t.Errorf("connection %v, error %v, warnings %v", conn, err, warnings)
			}
		})
	}
}

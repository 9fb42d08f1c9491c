package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// The pauses after an accept that failed, usually for lack of descriptors.
const (
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// Accept returns the next connection of l, or nil once l is closed or ctx is over. Where accepting fails for a reason
// that may pass, it tells warn and tries again; another error it returns.
func Accept(ctx context.Context, l net.Listener, warn func(error)) (net.Conn, error) {
	for delay := minAcceptDelay; ; delay = min(2*delay, maxAcceptDelay) {
		conn, err := l.Accept()
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil, nil
		}
		err = fmt.Errorf("accept connection: %w", err)
		var temp interface{ Temporary() bool }
		if !errors.As(err, &temp) || !temp.Temporary() {
			return nil, err
		}
		warn(err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

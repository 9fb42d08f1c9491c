// Package lineserver serves protocols of lines on sockets of the master's own: those of services anvil and ipc,
// which doveadm asks.
package lineserver

import (
	"bufio"
	"context"
	"io"
	"net"
	"time"

	"github.com/dovetail-mail/dovetail/internal/master"
)

const (
	// MaxLine bounds a line, in bytes.
	MaxLine = 16384
	// Timeout is that of a command, and for its answer to be read.
	Timeout = time.Minute
)

// An Answer answers a line. Its error ends the connection.
type Answer func(ctx context.Context, w io.Writer, line string) error

// Serve has the lines of l's clients answered until it is closed or ctx is over, and tells warn why it cannot take one at
// the moment. Only who may do everything may connect to it.
func Serve(ctx context.Context, l net.Listener, warn func(error), answer Answer) {
	for {
		conn, err := master.Accept(ctx, l, warn)
		if err != nil {
			warn(err)
		}
		if conn == nil {
			return
		}
		go serve(ctx, conn, answer)
	}
}

func serve(ctx context.Context, conn net.Conn, answer Answer) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, MaxLine)
	w := bufio.NewWriter(conn)
	for {
		conn.SetDeadline(time.Now().Add(Timeout)) //nolint:errcheck // the read shows it
		if !lines.Scan() {
			return
		}
		if answer(ctx, w, lines.Text()) != nil || w.Flush() != nil {
			return
		}
	}
}

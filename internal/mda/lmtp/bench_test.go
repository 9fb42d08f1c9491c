package lmtp

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// BenchmarkSession is one delivery of a 10 KB message over a connection that is
// kept, to a Mailer that does nothing: the cost of the protocol.
func BenchmarkSession(b *testing.B) {
	s := newTestServer(b, "", discard{})
	benchmark(b, s)
}

// BenchmarkLocal is the same with the message saved in one mailbox.
func BenchmarkLocal(b *testing.B) {
	benchmark(b, newTestServer(b, "", nil))
}

func benchmark(b *testing.B, s *testServer) {
	message := []byte("Message-ID: <x@example.org>\r\nSubject: test\r\n\r\n" + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 128) + ".\r\n")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		conn := dial(b, s)
		conn.SetDeadline(noDeadline)
		in := bufio.NewReader(conn)
		io.WriteString(conn, "LHLO x\r\n")
		skip(b, in, 7)
		for pb.Next() {
			io.WriteString(conn, "MAIL FROM:<a@b>\r\nRCPT TO:<bob>\r\nDATA\r\n")
			skip(b, in, 3)
			conn.Write(message)
			skip(b, in, 1)
		}
	})
}

func skip(b *testing.B, in *bufio.Reader, lines int) {
	for range lines {
		line, err := in.ReadSlice('\n')
		if err != nil || line[0] != '2' && line[0] != '3' {
			b.Errorf("%q %v", line, err)
			return
		}
	}
}

var noDeadline time.Time

// discard is a Mailer that has saved everything already.
type discard struct{}

func (discard) Deliver(context.Context, store.UserInfo, string, Envelope, Content) error { return nil }

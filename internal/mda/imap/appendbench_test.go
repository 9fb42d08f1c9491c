package imap

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkAppend has clients save messages of 10 KB, durably, each into a mailbox of its
// own, here and with Dovecot.
func BenchmarkAppend(b *testing.B) {
	for _, format := range []string{"sdbox", "mdbox"} {
		for _, clients := range []int{1, 20} {
			name := fmt.Sprintf("%s/clients=%d", format, clients)
			b.Run(name+"/ours", func(b *testing.B) {
				srv := newTestServer(b, map[string]string{"mail_location": format + ":" + b.TempDir(), "mail_fsync": "optimized"})
				benchmarkAppend(b, func(b *testing.B) net.Conn {
					c, _ := srv.serve(b)
					return c
				}, clients)
			})
			b.Run(name+"/theirs", func(b *testing.B) {
				dial := dovecotDialer(b, map[string]string{"mail_location": format + ":~/mail"})
				benchmarkAppend(b, func(b *testing.B) net.Conn { return dial(b) }, clients)
			})
		}
	}
}

func benchmarkAppend(b *testing.B, dial func(*testing.B) net.Conn, clients int) {
	text := "Subject: benchmark\r\n\r\n" + strings.Repeat("0123456789012345678901234567890123456789012345678901234567890123456789\r\n", 143)
	var n atomic.Int64
	var wg sync.WaitGroup
	b.SetBytes(int64(len(text)))
	for i := range clients {
		c := dial(b)
		r := bufio.NewReader(c)
		r.ReadString('\n')
		name := fmt.Sprint("box", i)
		mustRun(b, c, r, "a CREATE "+name)
		command := fmt.Sprintf("a APPEND %s {%d+}\r\n%s", name, len(text), text)
		wg.Go(func() {
			for n.Add(1) <= int64(b.N) {
				mustRun(b, c, r, command)
			}
		})
	}
	b.ResetTimer()
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

package smtp

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// benchSink takes messages of one recipient and answers without a look at them.
func benchSink(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go sinkConn(c)
		}
	}()
	return l.Addr().String()
}

func sinkConn(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	say := func(text string) { c.Write([]byte(text)) }
	until := func(end string) bool {
		for n := 0; ; {
			k, err := c.Read(buf[n:])
			if err != nil {
				return false
			}
			n += k
			if bytes.HasSuffix(buf[:n], []byte(end)) {
				return true
			}
		}
	}
	say("220 sink ESMTP\r\n")
	if !until("\r\n") {
		return
	}
	say("250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
	for until("DATA\r\n") {
		say("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 go on\r\n")
		if !until("\r\n.\r\n") {
			return
		}
		say("250 2.0.0 Ok\r\n")
	}
}

// One message of 10 KB over a kept connection: two round trips.
func BenchmarkDeliver(b *testing.B) {
	addr := benchSink(b)
	a := newTestAgent(b, baseConfig, false, new(logLines))
	b.Cleanup(a.Close)
	e := &queue.Envelope{Sender: "sender@example.org", Recipients: []queue.Recipient{{Address: "a@example.test"}}}
	m, content := enqueue(b, e, "Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("x", 74)+"\r\n", 135))
	r := &deliver.Request{Message: m, Content: content, Nexthop: "[127.0.0.1]:" + addr[strings.LastIndexByte(addr, ':')+1:], Recipients: []deliver.Recipient{{Address: "a@example.test"}}}
	b.ReportAllocs()
	for b.Loop() {
		a.Deliver(context.Background(), r, func(_ int, s deliver.Status) {
			if s.Action != deliver.Relayed {
				b.Fatalf("%+v", s)
			}
		})
	}
}

package imap

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// BenchmarkRead is commands about 1000 messages of several parts, each command given again and
// again.
func BenchmarkRead(b *testing.B) {
	const messages = 1000
	c, r := benchClient(b)
	appendParts(b, c, r, "INBOX", messages)
	for _, commands := range [][]string{
		{"FETCH 1:* (ENVELOPE)"}, {"FETCH 1:* (BODYSTRUCTURE)"}, {"FETCH 1:* (BODY.PEEK[])"}, {"SEARCH TEXT missing"},
		{"STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)"},
	} {
		b.Run(commands[0], func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mustRun(b, c, r, "a "+commands[i%len(commands)])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
		})
	}
}

// BenchmarkReadFirst is the first FETCH of 500 messages that nobody asked about.
func BenchmarkReadFirst(b *testing.B) {
	const messages = 500
	c, r := benchClient(b)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		box := fmt.Sprint("box", i)
		mustRun(b, c, r, "a CREATE "+box)
		appendParts(b, c, r, box, messages)
		b.StartTimer()
		mustRun(b, c, r, "a FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}

// benchClient returns a session of a new server.
func benchClient(b *testing.B) (net.Conn, *bufio.Reader) {
	b.Helper()
	c, _ := newTestServer(b, nil).serve(b)
	r := bufio.NewReaderSize(c, 1<<20)
	if _, err := r.ReadString('\n'); err != nil {
		b.Fatal(err)
	}
	return c, r
}

// appendParts saves n messages of several parts and selects the mailbox.
func appendParts(b *testing.B, c net.Conn, r *bufio.Reader, box string, n int) {
	b.Helper()
	for i := range n {
		text := partsMessage(i)
		mustRun(b, c, r, fmt.Sprintf("a APPEND %s {%d+}\r\n%s", box, len(text), text))
	}
	mustRun(b, c, r, "a SELECT "+box)
}

// partsMessage is a message of a text in two forms and an attachment, about 10 KB.
func partsMessage(n int) string {
	text := fmt.Sprintf("From: \"Sender %d\" <sender%[1]d@example.org>\r\nTo: Reader <reader@example.test>, =?utf-8?q?J=C3=B6rg?= <joerg@example.test>\r\n"+
		"Cc: <list@example.org>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %[1]d\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%[1]d@example.org>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"+
		"--outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n"+
		"--inner\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nShort text.\r\n"+
		"--inner\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Short text.</p>\r\n--inner--\r\n"+
		"--outer\r\nContent-Type: application/octet-stream; name=\"table.csv\"\r\nContent-Disposition: attachment; filename=\"table.csv\"\r\n\r\n", n)
	return text + strings.Repeat(strings.Repeat("0123456789 ", 6)+"\r\n", 130) + "--outer--\r\n"
}

package imap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// BenchmarkRead is commands about 1000 messages of several parts, each command given again and
// again.
func BenchmarkRead(b *testing.B) {
	const messages = 1000
	srv := newTestServer(b, nil)
	c, _ := srv.serve(b)
	r := bufio.NewReaderSize(c, 1<<20)
	r.ReadString('\n')
	for n := range messages {
		text := partsMessage(n)
		mustRun(b, c, r, fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s", len(text), text))
	}
	mustRun(b, c, r, "a SELECT INBOX")
	for _, command := range []string{
		"FETCH 1:* (ENVELOPE)", "FETCH 1:* (BODYSTRUCTURE)", "FETCH 1:* (BODY.PEEK[])", "SEARCH TEXT missing",
		"STORE 1:* +FLAGS.SILENT (\\Flagged)", "STORE 1:* -FLAGS.SILENT (\\Flagged)",
	} {
		b.Run(command, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				line := command
				if i%2 == 1 {
					line = strings.Replace(line, "+FLAGS", "-FLAGS", 1)
				}
				skim(b, c, r, line)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
		})
	}
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

// skim gives a command and reads up to its tagged OK.
func skim(t testing.TB, c net.Conn, r *bufio.Reader, line string) {
	t.Helper()
	if _, err := io.WriteString(c, "a "+line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		reply, err := r.ReadSlice('\n')
		if err != nil {
			t.Fatal(line, err)
		}
		if strings.HasPrefix(string(reply[:min(len(reply), 5)]), "a OK ") {
			return
		}
	}
}

// BenchmarkReadFirst is the first FETCH of 500 messages that nobody asked about.
func BenchmarkReadFirst(b *testing.B) {
	const messages = 500
	srv := newTestServer(b, nil)
	c, _ := srv.serve(b)
	r := bufio.NewReaderSize(c, 1<<20)
	r.ReadString('\n')
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		mustRun(b, c, r, fmt.Sprint("a CREATE box", i))
		for n := range messages {
			text := partsMessage(n)
			mustRun(b, c, r, fmt.Sprintf("a APPEND box%d {%d+}\r\n%s", i, len(text), text))
		}
		mustRun(b, c, r, fmt.Sprint("a SELECT box", i))
		b.StartTimer()
		skim(b, c, r, "FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}

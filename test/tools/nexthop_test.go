package tools

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"testing"
)

// A nexthop is an SMTP server that takes mail, or answers a recipient as its
// script says.
type nexthop struct {
	Addr    string            // host:port
	Keyword string            // extensions announced, one a line
	Script  map[string]string // reply to RCPT TO, by local part
	AtEnd   map[string]string // reply to the content, by local part of a recipient
	mail    chan letter
	release chan struct{} // closed: sessions of "hang" recipients go on
}

// A letter is a message that a nexthop took.
type letter struct {
	From, To string // as in the commands, parameters included
	Content  string
}

const usualKeywords = "PIPELINING\nDSN\n8BITMIME\nSMTPUTF8\nENHANCEDSTATUSCODES"

func startNexthop(t *testing.T, n *nexthop) *nexthop {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if n.Keyword == "" {
		n.Keyword = usualKeywords
	}
	n.Addr, n.mail, n.release = l.Addr().String(), make(chan letter, 100), make(chan struct{})
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				n.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(n.release)
		// The servers that hold connections were stopped before.
		sessions.Wait()
	})
	return n
}

func (n *nexthop) serve(conn net.Conn) {
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	say := func(reply string) {
		out.WriteString(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n")
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
	say("220 nexthop.example.test ESMTP")
	var l letter
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			lines := strings.Split("nexthop.example.test\n"+n.Keyword, "\n")
			say("250-" + strings.Join(lines[:len(lines)-1], "\n250-") + "\n250 " + lines[len(lines)-1])
		case "MAIL":
			l = letter{From: line}
			say("250 2.1.0 Ok")
		case "RCPT":
			user := localPart(line)
			if user == "hang" {
				<-n.release
				return
			}
			if reply, ok := n.Script[user]; ok {
				say(reply)
				break
			}
			l.To = strings.TrimPrefix(l.To+"\n"+line, "\n")
			say("250 2.1.5 Ok")
		case "DATA":
			if l.To == "" {
				say("554 5.5.1 Error: no valid recipients")
				break
			}
			say("354 End data with <CR><LF>.<CR><LF>")
			if l.Content, err = readContent(in); err != nil {
				return
			}
			if reply, ok := n.AtEnd[localPart(l.To)]; ok {
				say(reply)
				break
			}
			n.mail <- l
			say("250 2.0.0 Ok: queued as TAKEN")
		case "QUIT":
			say("221 2.0.0 Bye")
			return
		default:
			say("250 2.0.0 Ok")
		}
	}
}

func localPart(command string) string {
	_, path, _ := strings.Cut(command, "<")
	user, _, _ := strings.Cut(path, "@")
	return user
}

func readContent(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == ".\r\n" {
			return text.String(), nil
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
}

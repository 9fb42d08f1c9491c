package harness

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
	"sync"
)

// A NextHop is an SMTP server that keeps the mail it takes.
type NextHop struct {
	Addr string // host:port
	// Replies are those to RCPT TO and, where they begin with ".", to the content, by local
	// part of a recipient. All others are taken.
	Replies map[string]string
	// Login is "user password" of AUTH PLAIN, without which no mail is taken; it may be empty.
	Login string
	// TLS is that of STARTTLS, which is not offered if it is nil.
	TLS *tls.Config

	mu      sync.Mutex
	letters []Letter
}

// A Letter is a message that a next hop took.
type Letter struct {
	From    string   // as in the command, parameters included
	To      []string // as in the commands
	Content string   // without dots added for the way
}

// StartNextHop starts a next hop. The fields must be set before.
func StartNextHop(t TB, n *NextHop) *NextHop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	n.Addr = l.Addr().String()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				n.serve(conn)
			}()
		}
	}()
	return n
}

// Port is the port of Addr.
func (n *NextHop) Port() string { return n.Addr[strings.LastIndexByte(n.Addr, ':')+1:] }

// Letters returns what was taken so far.
func (n *NextHop) Letters() []Letter {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.letters)
}

func (n *NextHop) serve(conn net.Conn) {
	in, out := bufio.NewReader(conn), bufio.NewWriter(conn)
	say := func(reply string) {
		out.WriteString(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n")
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
	say("220 nexthop.example.test ESMTP")
	known, extensions := n.Login == "", "250-PIPELINING\n250-AUTH PLAIN\n250-DSN\n250-8BITMIME\n250-SMTPUTF8\n250 ENHANCEDSTATUSCODES"
	if n.TLS != nil {
		extensions = "250-STARTTLS\n" + extensions
	}
	var letter Letter
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, args, _ := strings.Cut(line, " ")
		switch verb = strings.ToUpper(verb); {
		case verb == "EHLO":
			say("250-nexthop.example.test\n" + extensions)
		case verb == "STARTTLS" && n.TLS != nil:
			say("220 2.0.0 Ready to start TLS")
			conn = tls.Server(conn, n.TLS)
			in.Reset(conn)
			out.Reset(conn)
			extensions = strings.TrimPrefix(extensions, "250-STARTTLS\n")
		case verb == "AUTH":
			known = n.knows(args)
			say(map[bool]string{true: "235 2.7.0 Authentication successful", false: "535 5.7.8 Error: authentication failed"}[known])
		case verb == "QUIT":
			say("221 2.0.0 Bye")
			out.Flush()
			return
		case !known:
			say("530 5.7.0 Authentication required")
		case verb == "MAIL":
			letter = Letter{From: line}
			say("250 2.1.0 Ok")
		case verb == "RCPT":
			if reply := n.Replies[localPart(line)]; reply != "" && reply[0] != '.' {
				say(reply)
				break
			}
			letter.To = append(letter.To, line)
			say("250 2.1.5 Ok")
		case verb == "DATA" && len(letter.To) == 0:
			say("554 5.5.1 Error: no valid recipients")
		case verb == "DATA":
			say("354 End data with <CR><LF>.<CR><LF>")
			if letter.Content, err = readContent(in); err != nil {
				return
			}
			say(n.take(letter))
		default:
			say("250 2.0.0 Ok")
		}
	}
}

// knows looks at the arguments of AUTH.
func (n *NextHop) knows(args string) bool {
	_, response, _ := strings.Cut(args, " ")
	plain, err := base64.StdEncoding.DecodeString(response)
	words := strings.Split(string(plain), "\x00")
	return err == nil && len(words) == 3 && words[1]+" "+words[2] == n.Login
}

// take keeps a letter and returns the reply.
func (n *NextHop) take(letter Letter) string {
	for _, to := range letter.To {
		if reply := n.Replies[localPart(to)]; reply != "" {
			return reply[1:]
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.letters = append(n.letters, letter)
	return "250 2.0.0 Ok: queued as TAKEN"
}

func localPart(command string) string {
	_, path, _ := strings.Cut(command, "<")
	user, _, _ := strings.Cut(path, "@")
	return user
}

// readContent reads up to the dot that ends the content.
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

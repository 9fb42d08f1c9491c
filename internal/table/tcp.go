package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const (
	tcpTimeout  = 100 * time.Second
	tcpLongest  = 4096 // answer
	tcpAttempts = 10
)

// tcpTable is tcp_table(5): a server that answers "get KEY" with a number and a text.
type tcpTable struct {
	connection
	name  string
	o     Options
	pause time.Duration // between attempts
}

func (*tcpTable) pattern() {}

func openTCP(_, name string, o *Options) (Table, error) {
	host, port, err := net.SplitHostPort(name)
	if err != nil {
		return nil, fmt.Errorf("tcp:%s: need host:port", name)
	}
	return &tcpTable{connection: connection{network: "tcp", address: net.JoinHostPort(host, port), timeout: tcpTimeout}, name: name, o: *o, pause: time.Second}, nil
}

// tcpAnswer is an answer that counts, though the connection may have to be given up after it.
type tcpAnswer struct {
	value string
	found bool
	err   error
}

// Lookup implements [Table]. It tries again for some time where the server cannot be reached.
func (t *tcpTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	for try := 1; ; try++ {
		var a tcpAnswer
		err := t.do(ctx, func(in *bufio.Reader, out io.Writer) error {
			var err error
			a, err = t.ask(in, out, key)
			if a.err != nil {
				return a.err // gives the connection up
			}
			return err
		})
		if err == nil || a.err != nil {
			return a.value, a.found, a.err
		}
		t.warn(err)
		if try == tcpAttempts || ctx.Err() != nil {
			return "", false, fmt.Errorf("tcp:%s: %w", t.name, err)
		}
		select {
		case <-time.After(t.pause):
		case <-ctx.Done():
		}
	}
}

func (t *tcpTable) warn(err error) {
	var connect *connectError
	switch {
	case errors.As(err, &connect):
		t.o.warnf("connect to TCP map %s: %v", t.name, connect)
	case errors.Is(err, errTooLong):
		t.o.warnf("read TCP map reply from %s: text longer than %d", t.name, tcpLongest)
	default:
		t.o.warnf("read TCP map reply from %s: unexpected EOF (%s)", t.name, netReason(err))
	}
}

func (t *tcpTable) ask(in *bufio.Reader, out io.Writer, key string) (a tcpAnswer, err error) {
	if _, err := fmt.Fprintf(out, "get %s\n", hexQuote(key)); err != nil {
		return a, err
	}
	line, err := readLine(in, tcpLongest)
	if err != nil {
		return a, err
	}
	wrong := func(what string) (tcpAnswer, error) {
		t.o.warnf("read TCP map reply from %s: %s: %.100s", t.name, what, strings.ReplaceAll(Printable(line), "?", "_"))
		return tcpAnswer{err: fmt.Errorf("tcp:%s: %s", t.name, what)}, nil
	}
	if len(line) < 4 || strings.Trim(line[:3], "0123456789") != "" || line[3] != ' ' && line[3] != '\t' {
		return wrong("malformed reply")
	}
	text, ok := hexUnquote(line[4:])
	if !ok {
		return wrong("malformed reply")
	}
	switch line[0] {
	case '2':
		return tcpAnswer{value: text, found: true}, nil
	case '5':
		return tcpAnswer{}, nil
	case '4':
		return tcpAnswer{err: fmt.Errorf("tcp:%s: the server cannot tell: %.100s", t.name, text)}, nil
	}
	return wrong("bad status code")
}

// hexQuote writes what is no printable ASCII character, and "%", as %XX.
func hexQuote(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func hexUnquote(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

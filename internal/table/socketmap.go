package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	socketmapTimeout = 100 * time.Second
	socketmapIdle    = 10 * time.Second
	socketmapAge     = 100 * time.Second
	socketmapLongest = 100_000 // answer
)

// socketmapTable is socketmap_table(5): a server that answers netstrings, as Sendmail has it.
type socketmapTable struct {
	connection
	spec, name string // name is the map's at the server
	o          Options
}

func (*socketmapTable) pattern() {}

func openSocketmap(spec, name string, o *Options) (Table, error) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return nil, errors.New("socketmap requires server:socketmap argument")
	}
	network, address, err := splitEndpoint(name[:i])
	if err != nil {
		return nil, err
	}
	return &socketmapTable{connection: connection{
		network: network, address: address, timeout: socketmapTimeout, maxIdle: socketmapIdle, maxAge: socketmapAge,
	}, spec: spec, name: name[i+1:], o: *o}, nil
}

// Lookup implements [Table]. A connection that the server has closed meanwhile is made anew.
func (t *socketmapTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	var reply string
	var err error
	for range 2 {
		err = t.do(ctx, func(in *bufio.Reader, out io.Writer) error {
			request := t.name + " " + key
			if _, err := fmt.Fprintf(out, "%d:%s,", len(request), request); err != nil {
				return err
			}
			var err error
			reply, err = readNetstring(in, socketmapLongest)
			return err
		})
		var connect *connectError
		if err == nil || errors.As(err, &connect) || !errors.Is(err, io.EOF) && netReason(err) != "Connection reset by peer" && netReason(err) != "Broken pipe" {
			break
		}
	}
	if err != nil {
		t.o.warnf("table %s lookup error: %s", t.spec, netReason(err))
		return "", false, fmt.Errorf("%s: %w", t.spec, err)
	}
	return t.answer(reply)
}

func (t *socketmapTable) answer(reply string) (string, bool, error) {
	status, text, _ := strings.Cut(reply, " ")
	class := "unknown"
	failed := fmt.Errorf("%s: the server answers %.200s", t.spec, Printable(reply))
	switch status {
	case "OK":
		return text, true, nil
	case "NOTFOUND":
		return "", false, nil
	case "TEMP":
		class = "temporary"
	case "TIMEOUT":
		class = "timeout"
	case "PERM":
		class = "permanent"
		failed = fmt.Errorf("%w: %w", ErrContent, failed)
	}
	if text = strings.TrimLeft(text, " "); text != "" {
		text = ": " + Printable(text)
	}
	t.o.warnf("%s socketmap server %s error%.200s", t.spec, class, text)
	return "", false, failed
}

// readNetstring reads "LENGTH:TEXT,".
func readNetstring(in *bufio.Reader, longest int) (string, error) {
	head, err := readUntil(in, ':', 10)
	if err != nil {
		return "", err
	}
	n, err := strconv.ParseUint(head, 10, 31)
	if err != nil {
		return "", errors.New("netstring format error")
	}
	if int(n) > longest {
		return "", errors.New("netstring size limit exceeded")
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(in, b); err != nil {
		return "", err
	}
	if b[n] != ',' {
		return "", errors.New("netstring format error")
	}
	return string(b[:n]), nil
}

// readUntil reads at most n bytes and the end, which is dropped.
func readUntil(in *bufio.Reader, end byte, n int) (string, error) {
	var b []byte
	for {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return "", err
		case c == end:
			return string(b), nil
		case len(b) == n:
			return "", errors.New("netstring format error")
		}
		b = append(b, c)
	}
}

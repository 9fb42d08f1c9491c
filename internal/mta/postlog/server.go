package postlog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// maxDatagram bounds what is read at once: a client sends lines that have
// gathered together.
const maxDatagram = 256 << 10

// Serve takes lines into the log until ctx ends. A log tag gives the logger.
func Serve(ctx context.Context, core *postfix.Core, log func(tag string) *maillog.Logger) error {
	path := SocketPath(core)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer os.Remove(path) //nolint:errcheck // the next one does
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := os.Chmod(path, 0o666); err != nil {
		return err
	}
	buf := make([]byte, maxDatagram)
	for {
		n, _, err := conn.ReadFromUnix(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for line := range bytes.Lines(buf[:n]) {
			if l, ok := parse(strings.TrimRight(string(line), "\n")); ok {
				log(l.tag).Print(l.level, l.text)
			}
		}
	}
}

// A line is what a client sent, without its time and host name.
type line struct {
	tag   string
	level maillog.Level
	text  string
}

// parse takes "Mmm dd hh:mm:ss host tag: [severity: ]text" apart. RFC 3339 times, which
// are one word, are taken too.
func parse(s string) (line, bool) {
	l := line{level: maillog.Info}
	words := 4 // time and host
	if len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
		words = 2
	}
	for range words {
		_, rest, ok := strings.Cut(strings.TrimLeft(s, " "), " ")
		if !ok {
			return l, false
		}
		s = rest
	}
	var ok bool
	if l.tag, l.text, ok = strings.Cut(s, ": "); !ok || l.tag == "" {
		return l, false
	}
	for level, prefix := range prefixes {
		if text, ok := strings.CutPrefix(l.text, prefix); ok {
			l.level, l.text = level, text
			break
		}
	}
	return l, true
}

package dump

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"os"
	"strings"
)

const maxRawlogLine = 64 << 10

func isIMAPZlib(path string) bool {
	if !strings.HasSuffix(path, ".in") && !strings.HasSuffix(path, ".out") {
		return false
	}
	start := bytes.ToLower(prefix(path, 4095))
	return bytes.Contains(start, []byte(" ok begin compression.")) || bytes.Contains(start, []byte(" compress deflate"))
}

// imapZlib shows the rawlog of an IMAP session with COMPRESS (RFC 4978), the
// compressed part decompressed.
func (d *dumper) imapZlib(path string, _ []string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxRawlogLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			d.complain("read(%s) failed: %s", path, reason(err))
			return nil
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		d.printf("%s\r\n", text)
		_, command, _ := strings.Cut(text, " ")
		if strings.HasPrefix(command, "OK Begin compression") || strings.EqualFold(command, "COMPRESS DEFLATE") {
			break
		}
	}
	_, err = io.Copy(d.out, flate.NewReader(in))
	// The connection, not the stream, ended.
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		d.complain("read(%s) failed: %v", path, err)
	}
	return nil
}

package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// mailboxLogRecord is the size of a record of dovecot.mailbox.log: u8 type, three
// zero bytes, GUID, u32 time (big endian).
const mailboxLogRecord = 24

var mailboxLogTypes = [...]string{1: "delete-mailbox", "delete-dir", "rename", "subscribe", "unsubscribe", "create-dir"}

func isMailboxLog(path string) bool {
	if !strings.HasSuffix(path, ".log") {
		return false
	}
	b := prefix(path, mailboxLogRecord)
	return len(b) == mailboxLogRecord && b[0] > 0 && int(b[0]) < len(mailboxLogTypes) && b[1]|b[2]|b[3] == 0
}

func (d *dumper) mailboxLog(path string, _ []string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	var b [mailboxLogRecord]byte
	for off := int64(0); ; off += mailboxLogRecord {
		n, err := io.ReadFull(f, b[:])
		if err == io.EOF {
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("rec read() %d != %d", n, len(b))
		}
		if err != nil {
			return fmt.Errorf("read(%s) failed: %s", path, reason(err))
		}
		name := ""
		if int(b[0]) < len(mailboxLogTypes) {
			name = mailboxLogTypes[b[0]]
		}
		d.printf("#%d: %s %x (%s)\n", off, name, b[4:20], date(binary.BigEndian.Uint32(b[20:])))
	}
}

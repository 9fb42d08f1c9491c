package dbox

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	filePrefix = "u."
	tempPrefix = ".temp."
	// BrokenSuffix marks the original of a file that had to be repaired.
	BrokenSuffix = ".broken"
)

// FileName returns the name of the file of a message.
func FileName(uid uint32) string {
	b := append(make([]byte, 0, 12), filePrefix...)
	return string(strconv.AppendUint(b, uint64(uid), 10))
}

// ParseName returns the uid of a mail file's name.
func ParseName(name string) (uid uint32, ok bool) {
	digits, ok := strings.CutPrefix(name, filePrefix)
	if !ok || digits == "" || digits[0] == '0' {
		return 0, false
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	return uint32(v), err == nil && digits[0] != '+'
}

// IsTemp tells whether a file was left behind by a save that did not finish.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

var (
	tempCount  atomic.Uint64
	tempPID    = strconv.Itoa(os.Getpid())
	tempSuffix = sync.OnceValue(func() string {
		host, err := os.Hostname()
		if err != nil || host == "" {
			host = "localhost"
		}
		return strings.NewReplacer("/", "\\057", ":", "\\072").Replace(host)
	})
)

// TempName returns a name for a new file that no other process on any host uses.
func TempName() string {
	now := time.Now()
	b := append(make([]byte, 0, 80), tempPrefix...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, ".P"...)
	b = append(b, tempPID...)
	b = append(b, 'Q')
	b = strconv.AppendUint(b, tempCount.Add(1), 10)
	b = append(b, 'M')
	b = strconv.AppendInt(b, int64(now.Nanosecond()/1000), 10)
	b = append(b, '.')
	return string(append(b, tempSuffix()...))
}

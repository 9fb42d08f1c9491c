package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// With INDEX=MEMORY the index files are in a directory of this process, if possible in
// memory. Another process knows nothing of them, and what was killed left is removed by the
// next one.

// memoryPrefix begins the names of such directories; user and process id follow.
const memoryPrefix = "dovetail-index."

// memoryRoot is the directory of this process.
var memoryRoot = sync.OnceValues(func() (string, error) {
	base := "/dev/shm"
	if unix.Access(base, unix.W_OK|unix.X_OK) != nil {
		base = os.TempDir()
	}
	removeLeftIndexes(base)
	return os.MkdirTemp(base, fmt.Sprintf("%s%d.%d.", memoryPrefix, os.Getuid(), os.Getpid()))
})

// memoryIndex returns the root of the index files of the mailboxes below a mail root.
func memoryIndex(root string) (string, error) {
	dir, err := memoryRoot()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(root))
	dir = filepath.Join(dir, hex.EncodeToString(sum[:16]))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// removeLeftIndexes removes the directories of this user's processes that are no more.
func removeLeftIndexes(base string) {
	dirs, _ := filepath.Glob(filepath.Join(base, fmt.Sprintf("%s%d.*", memoryPrefix, os.Getuid()))) // the pattern is valid
	for _, dir := range dirs {
		fields := strings.Split(filepath.Base(dir), ".")
		if len(fields) < 3 {
			continue
		}
		pid, err := strconv.Atoi(fields[2])
		if err != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		// /dev/shm is everybody's: only what is ours is removed.
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && int(st.Uid) == os.Getuid() && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			os.RemoveAll(dir) //nolint:errcheck // the next process tries again
		}
	}
}

package db

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// maxFile is the largest passwd-file read, and maxFiles how many files with
// %variables in their path are kept in memory.
const (
	maxFile  = 1 << 30
	maxFiles = 1024
)

// checkInterval is how often a file is looked at for changes.
const checkInterval = time.Second

// A fileCache holds the files of all passwd-file and passwd databases, each
// once for passdb and userdb.
type fileCache struct {
	mu      sync.Mutex
	files   map[string]*userFile
	userdbs map[string]bool // paths, as configured, that userdbs use
}

// declareUserdb tells that the lines of a file must have what a userdb needs.
func (c *fileCache) declareUserdb(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.userdbs == nil {
		c.userdbs = make(map[string]bool)
	}
	c.userdbs[path] = true
}

// get returns the present content of a file.
func (c *fileCache) get(path, configured string, log *maillog.Logger) (*fileTable, error) {
	c.mu.Lock()
	f := c.files[path]
	if f == nil {
		if c.files == nil {
			c.files = make(map[string]*userFile)
		}
		if len(c.files) >= maxFiles {
			for victim := range c.files { // any: it is only read again
				delete(c.files, victim)
				break
			}
		}
		f = &userFile{path: path, asUserdb: c.userdbs[configured], log: log}
		c.files[path] = f
	}
	c.mu.Unlock()
	return f.get()
}

// A userFile is one file and its latest content.
type userFile struct {
	path     string
	asUserdb bool
	log      *maillog.Logger

	table   atomic.Pointer[fileTable]
	checked atomic.Int64 // when it was last looked at, in nanoseconds

	mu    sync.Mutex // held while reading
	stamp fileStamp
}

// get returns the content, read anew when the file has changed. Who comes while
// another reads gets the content of before.
func (f *userFile) get() (*fileTable, error) {
	now := time.Now().UnixNano()
	table := f.table.Load()
	if table != nil && now-f.checked.Load() < int64(checkInterval) {
		return table, nil
	}
	if table == nil {
		f.mu.Lock()
	} else if !f.mu.TryLock() {
		return table, nil
	}
	defer f.mu.Unlock()
	if table = f.table.Load(); table != nil && now-f.checked.Load() < int64(checkInterval) {
		return table, nil
	}
	table, err := f.refresh(table)
	if err != nil {
		return nil, err
	}
	f.table.Store(table)
	f.checked.Store(now)
	return table, nil
}

// refresh reads the file unless it is still what was read as old.
func (f *userFile) refresh(old *fileTable) (*fileTable, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("open(%s) failed: %w", f.path, err)
	}
	defer file.Close()
	stamp, err := statFile(file)
	if err != nil {
		return nil, fmt.Errorf("fstat(%s) failed: %w", f.path, err)
	}
	if old != nil && stamp == f.stamp {
		return old, nil
	}
	if stamp.size > maxFile {
		return nil, fmt.Errorf("passwd-file %s is larger than 1 GB", f.path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read(%s) failed: %w", f.path, err)
	}
	f.stamp = stamp
	table := parseFile(data, f.asUserdb, func(format string, args ...any) {
		f.log.Errorf("passwd-file %s:%s", f.path, fmt.Sprintf(format, args...))
	})
	return table, nil
}

// A fileTable is the parsed content of a file. It never changes.
type fileTable struct {
	users map[string]*fileEntry
	order []string // names of all lines
}

// A fileEntry is one line.
type fileEntry struct {
	password string
	uid, gid string // numbers
	home     string
	shell    string
	extra    []Field
	isUser   bool // has what a userdb needs
}

// parseFile reads the lines. Mistakes are reported, and cost their own line
// only.
func parseFile(data []byte, asUserdb bool, report func(format string, args ...any)) *fileTable {
	lines := bytes.Count(data, []byte{'\n'}) + 1
	t := &fileTable{users: make(map[string]*fileEntry, lines), order: make([]string, 0, lines)}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" || line[0] == ':' || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, ":")
		t.order = append(t.order, name)
		if t.users[name] != nil {
			report("User %s exists more than once", name)
			continue
		}
		entry := parseEntry(rest)
		if asUserdb && !entry.checkUser(name, report) {
			continue
		}
		t.users[name] = entry
	}
	return t
}

// parseEntry reads what follows the name. Missing columns are empty; what
// comes after the shell is one column, whatever it contains.
func parseEntry(rest string) *fileEntry {
	var col [7]string // password, uid, gid, gecos, home, shell, extra
	n := copy(col[:], strings.SplitN(rest, ":", len(col)))
	e := &fileEntry{password: oldScheme(col[0]), uid: col[1], gid: col[2], home: col[4], shell: col[5], isUser: n > 1}
	for item := range strings.SplitSeq(col[6], " ") {
		if item != "" {
			e.extra = append(e.extra, parseField(item))
		}
	}
	return e
}

// oldScheme turns the suffixes of old files, [13] and [34], into schemes.
func oldScheme(password string) string {
	if strings.HasPrefix(password, "{") || !strings.HasSuffix(password, "]") {
		return password
	}
	if hash, ok := strings.CutSuffix(password, "[13]"); ok {
		return "{CRYPT}" + hash
	}
	if hash, ok := strings.CutSuffix(password, "[34]"); ok {
		return "{PLAIN-MD5}" + hash
	}
	return password
}

// checkUser checks the columns of a userdb. A line without them may still
// serve a passdb.
func (e *fileEntry) checkUser(name string, report func(format string, args ...any)) bool {
	if !e.isUser {
		report("User %s is missing userdb info", name)
		return true
	}
	uid, ok := fileID(e.uid, lookupUID)
	if !ok {
		report("User %s has invalid UID '%s'", name, e.uid)
		return false
	}
	gid, ok := fileID(e.gid, lookupGID)
	if !ok {
		report("User %s has invalid GID '%s'", name, e.gid)
		return false
	}
	e.uid, e.gid = uid, gid
	return true
}

// fileID returns the number of a uid or gid column, which may be empty but
// not 0.
func fileID(text string, lookup func(string) (string, bool)) (string, bool) {
	if text == "" {
		return "", true
	}
	number, ok := lookup(text)
	if n, err := strconv.ParseUint(number, 10, 32); err != nil || n == 0 {
		return "", false
	}
	return number, ok
}

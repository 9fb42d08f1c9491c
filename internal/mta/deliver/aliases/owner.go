package aliases

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// An Owner is whose a table is.
type Owner struct {
	Known bool
	UID   uint32 // 0 is root, who is trusted
}

// fileTables are the types of tables that are files, and the ending of the file
// that counts.
var fileTables = map[string]string{
	"hash": ".db", "btree": ".db", "lmdb": ".lmdb", "cdb": ".cdb", "dbm": ".dir", "sdbm": ".dir",
	"texthash": "", "regexp": "", "pcre": "", "cidr": "",
	"ldap": "", "mysql": "", "pgsql": "", "sqlite": "", "memcache": "", "mongodb": "",
}

// trustedTables come from main.cf or the system.
var trustedTables = []string{"static", "inline", "environ", "fail", "unix", "internal", "nis", "randmap", "debug"}

// OwnerOf returns the owner of the table that "type:name" names: of its file, where
// it is one. open opens files that this process may not.
func OwnerOf(spec string, open func(string) (*os.File, error)) (Owner, error) {
	typ, name, _ := strings.Cut(strings.TrimPrefix(spec, "proxy:"), ":")
	for _, t := range trustedTables {
		if typ == t {
			return Owner{Known: true}, nil
		}
	}
	ending, isFile := fileTables[typ]
	switch {
	case typ == "pipemap" || typ == "unionmap":
		return worst(name, open)
	case !isFile:
		return Owner{}, nil
	case !strings.HasPrefix(name, "/"): // its settings are in main.cf
		return Owner{Known: true}, nil
	}
	info, err := os.Stat(name + ending)
	if errors.Is(err, os.ErrPermission) && open != nil {
		var f *os.File
		if f, err = open(name + ending); err == nil {
			defer f.Close()
			info, err = f.Stat()
		}
	}
	if err != nil {
		return Owner{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Owner{}, fmt.Errorf("%s: owner cannot be read", name+ending)
	}
	return Owner{Known: true, UID: st.Uid}, nil
}

// worst is the owner of a table made of others, "{type:name, ...}": the one who is
// trusted least.
func worst(list string, open func(string) (*os.File, error)) (Owner, error) {
	least := Owner{Known: true}
	for _, spec := range strings.FieldsFunc(strings.Trim(list, "{}"), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' }) {
		o, err := OwnerOf(spec, open)
		if err != nil || !o.Known {
			return o, err
		}
		if o.UID != 0 {
			least = o
		}
	}
	return least, nil
}

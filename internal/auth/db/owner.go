package db

import (
	"os"
	"strconv"
	"syscall"
)

// setOwner takes uid and gid of the owner of a file or directory
// (uidgid_file).
func (r *Request) setOwner(path string) {
	info, err := os.Stat(path)
	st, ok := (*syscall.Stat_t)(nil), false
	if err == nil {
		st, ok = info.Sys().(*syscall.Stat_t)
	}
	if !ok {
		r.Errorf("stat(%s) failed: %v", path, err)
		r.TempFail = true
		return
	}
	r.SetUserdbField(Field{Name: "uid", Value: strconv.FormatUint(uint64(st.Uid), 10)})
	r.SetUserdbField(Field{Name: "gid", Value: strconv.FormatUint(uint64(st.Gid), 10)})
}

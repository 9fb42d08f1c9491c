//go:build cgo && linux

package main

/*
#include <errno.h>
#include <pwd.h>
#include <shadow.h>
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
)

// maxRecord bounds the text of one user.
const maxRecord = 1 << 20

// withBuffer calls fn with larger and larger buffers until one suffices.
func withBuffer(fn func(buf *C.char, size C.size_t) C.int) error {
	for size := C.size_t(4096); size <= maxRecord; size *= 2 {
		buf := (*C.char)(C.malloc(size))
		status := fn(buf, size)
		C.free(unsafe.Pointer(buf))
		switch status {
		case 0:
			return nil
		case C.ERANGE:
			continue
		case C.ENOENT, C.ESRCH, C.EBADF, C.EPERM: // what C libraries say for no such user (getpwnam(3))
			return nil
		}
		return syscall.Errno(status)
	}
	return fmt.Errorf("the entry is larger than %d bytes", maxRecord)
}

// lookup finds a user of the system; nil if there is none.
func lookup(name string) (*system.User, error) {
	if strings.ContainsRune(name, 0) {
		return nil, nil
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var u *system.User
	err := withBuffer(func(buf *C.char, size C.size_t) C.int {
		var entry C.struct_passwd
		var found *C.struct_passwd
		status := C.getpwnam_r(cname, &entry, buf, size, &found)
		if found != nil {
			u = userOf(found)
		}
		return status
	})
	return u, err
}

// lookupID finds a user of the system by number; nil if there is none.
func lookupID(uid uint32) (*system.User, error) {
	var u *system.User
	err := withBuffer(func(buf *C.char, size C.size_t) C.int {
		var entry C.struct_passwd
		var found *C.struct_passwd
		status := C.getpwuid_r(C.uid_t(uid), &entry, buf, size, &found)
		if found != nil {
			u = userOf(found)
		}
		return status
	})
	return u, err
}

func userOf(p *C.struct_passwd) *system.User {
	return &system.User{
		Name: C.GoString(p.pw_name), Password: C.GoString(p.pw_passwd), UID: uint32(p.pw_uid), GID: uint32(p.pw_gid), Home: C.GoString(p.pw_dir),
		Shell: C.GoString(p.pw_shell),
	}
}

// shadow returns the hash of a user's password; ok is false if there is no such user.
func shadow(name string) (hash string, ok bool, err error) {
	if strings.ContainsRune(name, 0) {
		return "", false, nil
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	err = withBuffer(func(buf *C.char, size C.size_t) C.int {
		var entry C.struct_spwd
		var found *C.struct_spwd
		status := C.getspnam_r(cname, &entry, buf, size, &found)
		if found != nil {
			hash, ok = C.GoString(found.sp_pwdp), true
		}
		return status
	})
	return hash, ok, err
}

// listing is the one walk through all users that the C library can do at a time.
var listing sync.Mutex

// list calls fn with all users of the system until it fails.
func list(fn func(*system.User) error) error {
	listing.Lock()
	defer listing.Unlock()
	C.setpwent()
	defer C.endpwent()
	for {
		entry, err := C.getpwent()
		if entry == nil {
			if err != nil && err != syscall.ENOENT {
				return err
			}
			return nil
		}
		if err := fn(userOf(entry)); err != nil {
			return err
		}
	}
}

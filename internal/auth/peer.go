package auth

import (
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"

	osuser "os/user"

	"golang.org/x/sys/unix"
)

// A peer is the process at the other end of a Unix socket.
type peer struct {
	pid, uid, gid uint32
	known         bool
}

func peerOf(conn net.Conn) peer {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return peer{}
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return peer{}
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { //nolint:errcheck // cred tells
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || cred == nil {
		return peer{}
	}
	return peer{pid: uint32(cred.Pid), uid: cred.Uid, gid: cred.Gid, known: true}
}

// isRestricted reports whether the peer may look up only itself: the socket is
// open to everybody (mode 0666 exactly) and the peer is nobody special.
func (p peer) isRestricted(socket string) bool {
	if p.known && p.uid == 0 {
		return false
	}
	info, err := os.Stat(socket)
	if err != nil {
		return true // nobody knows who may use it
	}
	if info.Mode().Perm() != 0o666 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !p.known {
		return true
	}
	return p.uid != st.Uid && p.gid != st.Gid && !p.inGroup(st.Gid)
}

func (p peer) inGroup(gid uint32) bool {
	u, err := osuser.LookupId(strconv.FormatUint(uint64(p.uid), 10))
	if err != nil {
		return false
	}
	groups, err := u.GroupIds()
	return err == nil && slices.Contains(groups, strconv.FormatUint(uint64(gid), 10))
}

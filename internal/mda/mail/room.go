package mail

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
)

// A session that is let in must be able to open its mailboxes. So the last descriptors that the process may have are
// kept for the sessions that are there, and clients are refused, loudly, before they are needed: they can try again
// when others have gone or hibernate.

// descriptorLimit is how many descriptors the process may have now; the runtime has raised it as far as it goes.
func descriptorLimit() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<30))
}

// maxKept is how many descriptors are kept for sessions that are there, at most.
const maxKept = 1024

// highest returns the first descriptor that no new client may have. The kernel gives the lowest number that is free, so a
// descriptor's own number tells how many are open.
func highest(limit int) int { return limit - min(limit/8, maxKept) }

// crowdedTime is how long the process counts as crowded after a client has come when half of the descriptors were open.
const crowdedTime = time.Minute

// isCrowded reports whether sessions that may hibernate should: it gives back the descriptors of their mailboxes.
func (m *process) isCrowded() bool { return time.Now().UnixNano() < m.crowdedUntil.Load() }

// take takes the connection of a client, unless the process has too many descriptors open.
func (m *process) take(msg *master.Message, login *Login) (*handoff.Conn, error) {
	if len(msg.Files) != 1 {
		msg.CloseFiles()
		return nil, fmt.Errorf("%d descriptors came along: %w", len(msg.Files), syscall.EMFILE)
	}
	conn, err := handoff.NewConn(msg.Files[0], login.Login.Local, login.Login.Remote)
	if err != nil {
		return nil, err
	}
	number, err := descriptorOf(conn)
	limit := descriptorLimit()
	if err == nil && number >= limit/2 {
		m.crowdedUntil.Store(time.Now().Add(crowdedTime).UnixNano())
	}
	if err == nil && number >= highest(limit) {
		err = fmt.Errorf("%d of %d descriptors are open: %w", number, limit, syscall.EMFILE)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func descriptorOf(conn syscall.Conn) (number int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}

// decline tells the master that a client cannot be taken, and the log why.
func (m *process) decline(login *Login, err error) {
	m.log.With(login.Login.Service+"("+login.User.Username+")").
		Errorf("client not taken: %v (raise the limit of open files: LimitNOFILE of systemd)", err)
	if err := m.p.Control.Send(KindAccepted, &Accepted{ID: login.ID, Failed: true}); err != nil {
		m.log.Errorf("login: %v", err)
	}
}

package anvil

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/mda/lineserver"
)

// A Session is one that a user has.
type Session struct {
	ID      uint64 // given by the Source
	Service string // "imap"
	User    string
	Remote  netip.Addr
	PID     int // of the process that serves it
}

// ident is how lines name what sessions of a user from an address have in common.
func (s *Session) ident() string {
	ip := ""
	if s.Remote.IsValid() {
		ip = s.Remote.String()
	}
	return s.Service + "/" + ip + "/" + s.User
}

// A Penalty is what an address has to wait for.
type Penalty struct {
	IP            netip.Addr // not valid for clients without address
	Count         int
	Last, Updated time.Time
}

// A Source knows what the server is asked for.
type Source interface {
	Sessions() []Session
	Penalties(ctx context.Context) ([]Penalty, error)
	// Kick tells sessions to end. Those that have ended already do not matter.
	Kick(ids []uint64)
}

// Serve answers on l until it is closed. Only who may do everything may connect to it.
func Serve(ctx context.Context, l net.Listener, warn func(error), src Source) {
	lineserver.Serve(ctx, l, warn, func(ctx context.Context, w io.Writer, line string) error { return answer(ctx, w, line, src) })
}

// answer answers one line. Its error ends the connection.
func answer(ctx context.Context, w io.Writer, line string, src Source) error {
	fields := strings.Split(line, "\t")
	switch {
	case fields[0] == "VERSION":
		if len(fields) < 3 || fields[1] != "anvil" || fields[2] != "1" {
			return fmt.Errorf("anvil: version %q is not supported", line)
		}
		return nil
	case fields[0] == "CONNECT-DUMP":
		return dumpSessions(w, src.Sessions())
	case fields[0] == "PENALTY-DUMP":
		penalties, err := src.Penalties(ctx)
		if err != nil {
			return err
		}
		return dumpPenalties(w, penalties)
	case fields[0] == "KICK" && len(fields) == 3:
		_, err := fmt.Fprintf(w, "%d\n", kick(src, wire.Unescape(fields[1]), fields[2]))
		return err
	}
	return fmt.Errorf("anvil: unknown command %q", line)
}

// dumpSessions tells sessions with the same user, address and process together.
func dumpSessions(w io.Writer, sessions []Session) error {
	type group struct {
		ident string
		pid   int
	}
	counts := make(map[group]int)
	var order []group
	for i := range sessions {
		g := group{sessions[i].ident(), sessions[i].PID}
		if counts[g] == 0 {
			order = append(order, g)
		}
		counts[g]++
	}
	for _, g := range order {
		if _, err := fmt.Fprintf(w, "%s\t%d\t%d\n", wire.AppendEscaped(nil, g.ident), g.pid, counts[g]); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func dumpPenalties(w io.Writer, penalties []Penalty) error {
	for _, p := range penalties {
		ip := ""
		if p.IP.IsValid() {
			ip = p.IP.String()
		}
		if _, err := fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", ip, p.Count, p.Last.Unix(), p.Updated.Unix()); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func kick(src Source, ident, pidText string) int {
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		return 0
	}
	var ids []uint64
	for _, s := range src.Sessions() {
		if s.PID == pid && s.ident() == ident {
			ids = append(ids, s.ID)
		}
	}
	src.Kick(slices.Clip(ids))
	return len(ids)
}

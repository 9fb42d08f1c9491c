package ipc

import (
	"bufio"
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

// A Session is one that is relayed to another server, or about to be.
type Session struct {
	Service string            `json:"service"` // "imap"
	User    string            `json:"user"`
	Fields  map[string]string `json:"fields,omitempty"` // user_ fields of the passdb
	Remote  netip.Addr        `json:"remote"`           // the client
	Host    string            `json:"host"`             // as the passdb names the server
	Server  netip.AddrPort    `json:"server"`
}

// A Query says which sessions are meant, and what is to become of them.
type Query struct {
	Kick   bool     `json:"kick,omitempty"`
	By     string   `json:"by,omitempty"` // "" for all, "user", "host", or the name of a field
	Values []string `json:"values,omitempty"`
}

// Matches reports whether a session is meant.
func (q *Query) Matches(s *Session) bool {
	switch q.By {
	case "":
		return true
	case "user":
		return slices.Contains(q.Values, s.User)
	case "host":
		return slices.Contains(q.Values, s.Host)
	}
	value, ok := s.Fields[q.By]
	return ok && slices.Contains(q.Values, value)
}

// A Source knows the sessions.
type Source interface {
	// Relayed returns the sessions that are meant. With Kick they have been told to end.
	Relayed(ctx context.Context, q *Query) ([]Session, error)
}

// Serve answers on l until it is closed. Only who may do everything may connect to it.
func Serve(ctx context.Context, l net.Listener, warn func(error), src Source) {
	lineserver.Serve(ctx, l, warn, func(ctx context.Context, w io.Writer, line string) error {
		answer(ctx, w, line, src)
		return nil
	})
}

// answer answers one line.
func answer(ctx context.Context, w io.Writer, line string, src Source) {
	q, err := parse(line)
	var sessions []Session
	if err == nil && q != nil {
		sessions, err = src.Relayed(ctx, q)
	}
	switch {
	case err != nil:
		fmt.Fprintf(w, "-%v\n", err)
	case q == nil: // nobody has that name
		io.WriteString(w, "+\n") //nolint:errcheck // Flush shows it
	case q.Kick:
		fmt.Fprintf(w, "+%d\n", len(sessions))
	default:
		list(w, sessions)
	}
}

// parse reads a command. The query is nil for those of others than the login processes.
func parse(line string) (*Query, error) {
	args := strings.Split(line, "\t")
	for i := range args {
		args[i] = wire.Unescape(args[i])
	}
	switch {
	case len(args) < 3 || args[2] == "":
		return nil, fmt.Errorf("Invalid input")
	case args[1] != "*":
		return nil, fmt.Errorf("Unknown IPC connection id: %s", args[1])
	case args[0] != "proxy":
		return nil, nil //nolint:nilnil // as said
	}
	command, args := args[2], args[3:]
	switch {
	case command == "LIST-FULL":
		return &Query{}, nil
	case !strings.HasPrefix(command, "KICK"):
	case len(args) == 0:
		return nil, fmt.Errorf("Missing parameter")
	case command == "KICK":
		return &Query{Kick: true, By: "user", Values: args}, nil
	case command == "KICK-HOST":
		return &Query{Kick: true, By: "host", Values: args}, nil
	case command == "KICK-ALT" && len(args) > 1:
		return &Query{Kick: true, By: args[0], Values: args[1:]}, nil
	}
	return nil, fmt.Errorf("Unknown command")
}

// list tells about sessions.
func list(w io.Writer, sessions []Session) {
	if len(sessions) == 0 { // not even the names, as if there were no login process
		io.WriteString(w, "+\n") //nolint:errcheck // Flush shows it
		return
	}
	var fields []string
	for _, s := range sessions {
		for name := range s.Fields {
			if !slices.Contains(fields, name) {
				fields = append(fields, name)
			}
		}
	}
	slices.Sort(fields)
	row := func(user string, values []string, rest ...string) {
		line := wire.AppendEscaped([]byte(":"), user)
		for _, v := range append(values, rest...) {
			line = wire.AppendEscaped(append(line, '\t'), v)
		}
		w.Write(append(line, '\n')) //nolint:errcheck // Flush shows it
	}
	row("username", slices.Clone(fields), "service", "src-ip", "dest-ip", "dest-port")
	for _, s := range sessions {
		values := make([]string, len(fields))
		for i, name := range fields {
			values[i] = s.Fields[name]
		}
		row(s.User, values, s.Service, s.Remote.String(), s.Server.Addr().String(), strconv.Itoa(int(s.Server.Port())))
	}
	io.WriteString(w, "+\n") //nolint:errcheck // Flush shows it
}

// Ask asks the server behind the socket at path. It calls each with the fields of each line
// of the answer, and returns what is said at the end. An error that is an [Error] is the
// server's.
func Ask(path string, each func(fields []string), command ...string) (string, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lineserver.Timeout)); err != nil {
		return "", err
	}
	line := []byte("proxy\t*")
	for _, arg := range command {
		line = wire.AppendEscaped(append(line, '\t'), arg)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, lineserver.MaxLine)
	for lines.Scan() {
		kind, text := lines.Text()[:min(1, len(lines.Text()))], lines.Text()[min(1, len(lines.Text())):]
		switch kind {
		case ":":
			fields := strings.Split(text, "\t")
			for i := range fields {
				fields[i] = wire.Unescape(fields[i])
			}
			each(fields)
		case "+":
			return text, nil
		case "-":
			return "", Error(text)
		default:
			return "", Error("Invalid input")
		}
	}
	return "", Error("Disconnected")
}

// An Error is what a server says is wrong.
type Error string

// Error implements the interface error.
func (e Error) Error() string { return string(e) }

package anvil

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/mda/lineserver"
)

// A Client asks a server.
type Client struct {
	conn  net.Conn
	lines *bufio.Scanner
}

// Dial connects to the socket at path.
func Dial(path string) (*Client, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn, bufio.NewScanner(conn)}
	c.lines.Buffer(nil, lineserver.MaxLine)
	if err := c.put("VERSION\tanvil\t1\t0"); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) put(line string) error {
	if err := c.conn.SetDeadline(time.Now().Add(lineserver.Timeout)); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte(line + "\n"))
	return err
}

// list asks for lines that end with an empty one.
func (c *Client) list(command string, each func(fields []string) error) error {
	if err := c.put(command); err != nil {
		return err
	}
	for c.lines.Scan() {
		line := c.lines.Text()
		if line == "" {
			return nil
		}
		fields := strings.Split(line, "\t")
		for i := range fields {
			fields[i] = wire.Unescape(fields[i])
		}
		if err := each(fields); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
	}
	if err := c.lines.Err(); err != nil {
		return err
	}
	return fmt.Errorf("connection closed")
}

// A Line is the sessions of a user from one address in one process.
type Line struct {
	Session
	Count int
}

// Sessions calls each with who is logged in.
func (c *Client) Sessions(each func(Line)) error {
	return c.list("CONNECT-DUMP", func(fields []string) error {
		l, err := parseLine(fields)
		if err == nil {
			each(l)
		}
		return err
	})
}

// parseLine reads SERVICE/IP/USER, or SERVICE/USER of services that do not count by
// address, process id and count.
func parseLine(fields []string) (l Line, err error) {
	if len(fields) < 3 {
		return l, fmt.Errorf("Invalid input")
	}
	var ok bool
	if l.Service, l.User, ok = strings.Cut(fields[0], "/"); !ok {
		return l, fmt.Errorf("Invalid input")
	}
	if ip, user, ok := strings.Cut(l.User, "/"); ok {
		l.Remote, _ = netip.ParseAddr(ip) // sessions within the machine have none
		l.User = user
	}
	if l.PID, err = strconv.Atoi(fields[1]); err == nil {
		l.Count, err = strconv.Atoi(fields[2])
	}
	if err != nil {
		return l, fmt.Errorf("Invalid input")
	}
	return l, nil
}

// Penalties calls each with who has to wait.
func (c *Client) Penalties(each func(Penalty)) error {
	return c.list("PENALTY-DUMP", func(fields []string) error {
		if len(fields) < 4 {
			return fmt.Errorf("Read invalid penalty line")
		}
		var p Penalty
		p.IP, _ = netip.ParseAddr(fields[0])
		var numbers [3]int64
		for i := range numbers {
			var err error
			if numbers[i], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
				return fmt.Errorf("Read invalid penalty line")
			}
		}
		p.Count, p.Last, p.Updated = int(numbers[0]), time.Unix(numbers[1], 0), time.Unix(numbers[2], 0)
		each(p)
		return nil
	})
}

// Kick tells the sessions of a line to end and returns how many there were.
func (c *Client) Kick(l *Line) (int, error) {
	line := fmt.Sprintf("KICK\t%s\t%d", wire.AppendEscaped(nil, l.ident()), l.PID)
	if err := c.put(line); err != nil {
		return 0, err
	}
	if !c.lines.Scan() {
		return 0, fmt.Errorf("connection closed")
	}
	return strconv.Atoi(c.lines.Text())
}

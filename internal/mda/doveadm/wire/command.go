package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	auth "github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// The version of the protocol. A peer with another major version is refused.
const (
	Major = 1
	Minor = 2
)

// What the sides call each other in their version lines.
const (
	toServer = "doveadm-server"
	toClient = "doveadm-client"
)

// maxLine is the longest line accepted, as in Dovecot.
const maxLine = 1 << 20

// A Command is what a client asks for.
type Command struct {
	Debug, Verbose bool
	User           string
	Name           string // "mailbox list"; the other words may be the first arguments
	Args           []string
}

// append adds the line.
func (c *Command) append(b []byte) []byte {
	switch {
	case c.Debug:
		b = append(b, 'D')
	case c.Verbose:
		b = append(b, 'v')
	}
	b = auth.AppendEscaped(append(b, '\t'), c.User)
	b = auth.AppendEscaped(append(b, '\t'), c.Name)
	for _, arg := range c.Args {
		b = auth.AppendEscaped(append(b, '\t'), arg)
	}
	return append(b, '\n')
}

// parseCommand reads a line.
func parseCommand(line string) (c Command, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) < 3 {
		return c, errors.New("doveadm client: No command given")
	}
	for i := range fields {
		fields[i] = auth.Unescape(fields[i])
	}
	for _, flag := range fields[0] {
		switch flag {
		case 'D':
			c.Debug, c.Verbose = true, true
		case 'v':
			c.Verbose = true
		default:
			return c, fmt.Errorf("doveadm client: Unknown flag: %c", flag)
		}
	}
	c.User, c.Name, c.Args = fields[1], fields[2], fields[3:]
	return c, nil
}

// versionLine is the first line for the peer that is called so.
func versionLine(peer string) string { return fmt.Sprintf("VERSION\t%s\t%d\t%d\n", peer, Major, Minor) }

// parseVersion reads the peer's first line, in which it calls this side so.
func parseVersion(line, self string) (minor uint64, err error) {
	fields := strings.Split(line, "\t")
	if len(fields) == 4 && fields[0] == "VERSION" && fields[1] == self && fields[2] == strconv.Itoa(Major) {
		if minor, err = strconv.ParseUint(fields[3], 10, 32); err == nil {
			return minor, nil
		}
	}
	return 0, errVersion
}

var errVersion = errors.New("not compatible (mixed old and new binaries?)")

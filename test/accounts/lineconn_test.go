package accounts

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// A lineConn is a connection of lines. What goes wrong takes the place of an answer, so
// that it can be used in any goroutine.
type lineConn struct {
	net.Conn
	r *bufio.Reader
}

func newLineConn(conn net.Conn) *lineConn { return &lineConn{conn, bufio.NewReader(conn)} }

// ask sends a command and returns the first line of the answer that begins so.
func (c *lineConn) ask(command, want string) string {
	if _, err := fmt.Fprintf(c.Conn, "%s\r\n", command); err != nil {
		return err.Error()
	}
	return c.until(want)
}

// until reads up to a line that begins so.
func (c *lineConn) until(want string) string {
	for {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		line, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Sprintf("%q, %v", line, err)
		}
		if strings.HasPrefix(line, want) {
			return strings.TrimRight(line, "\r\n")
		}
	}
}

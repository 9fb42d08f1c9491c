package db

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of a conversation with an IMAP server that knows passwords.
const (
	imapTimeout  = 30 * time.Second // to connect, and then to log in
	maxIMAPLine  = 8192
	maxIMAPLines = 1000 // untagged, before the reply to a command
)

// An imapClient is a connection to an IMAP server until the login is decided.
type imapClient struct {
	name         string // for errors: host:port
	conn         net.Conn
	r            *bufio.Reader
	w            io.Writer
	rawlog       []*os.File
	stop         func() bool
	tag          int
	capabilities []string // upper case; nil if not known
}

// An imapReply is the tagged reply to a command.
type imapReply struct {
	status string // OK, NO or BAD
	text   string
}

// code is the response code, without its arguments.
func (r *imapReply) code() string {
	rest, ok := strings.CutPrefix(r.text, "[")
	if !ok {
		return ""
	}
	code, _, _ := strings.Cut(rest, "]")
	code, _, _ = strings.Cut(code, " ")
	return code
}

// connect returns a connection that is secured and ready to log in.
func (d *imapDB) connect(ctx context.Context, host string) (*imapClient, error) {
	address := net.JoinHostPort(host, strconv.FormatUint(d.port, 10))
	dialer := net.Dialer{Timeout: imapTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("imapc(%s): %w", address, err)
	}
	conn.SetDeadline(time.Now().Add(imapTimeout))
	c := &imapClient{name: address, conn: conn}
	c.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	if err := c.begin(d, host); err != nil {
		c.close()
		return nil, fmt.Errorf("imapc(%s): %w", address, err)
	}
	return c, nil
}

func (c *imapClient) close() {
	c.stop()
	c.conn.Close()
	for _, f := range c.rawlog {
		f.Close()
	}
}

// begin takes the greeting and secures the connection.
func (c *imapClient) begin(d *imapDB, host string) error {
	if d.security == imapTLS {
		if err := c.startTLS(d, host); err != nil {
			return err
		}
	}
	if err := c.use(d.rawlogDir); err != nil {
		return err
	}
	if err := c.greeting(); err != nil {
		return err
	}
	if d.security == imapSTARTTLS {
		if err := c.commandSTARTTLS(d, host); err != nil {
			return err
		}
	}
	if c.capabilities == nil {
		return c.askCapabilities()
	}
	return nil
}

// use has what is said go by way of buffers and the raw log.
func (c *imapClient) use(rawlogDir string) error {
	var in io.Reader = c.conn
	c.w = c.conn
	if rawlogDir != "" {
		if len(c.rawlog) == 0 {
			if err := c.openRawlog(rawlogDir); err != nil {
				return err
			}
		}
		in, c.w = io.TeeReader(c.conn, c.rawlog[0]), io.MultiWriter(c.conn, c.rawlog[1])
	}
	c.r = bufio.NewReaderSize(in, maxIMAPLine)
	return nil
}

// openRawlog makes the two files of a conversation.
func (c *imapClient) openRawlog(dir string) error {
	name := time.Now().Format("20060102-150405-") + strconv.Itoa(os.Getpid()) + "-"
	for _, direction := range [...]string{".in", ".out"} {
		f, err := os.OpenFile(filepath.Join(dir, name+c.conn.LocalAddr().(*net.TCPAddr).AddrPort().String()+direction), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		c.rawlog = append(c.rawlog, f)
	}
	return nil
}

func (c *imapClient) startTLS(d *imapDB, host string) error {
	config, err := d.tlsConfig(host)
	if err != nil {
		return err
	}
	secured := tls.Client(c.conn, config)
	if err := secured.Handshake(); err != nil {
		return fmt.Errorf("SSL handshake failed: %w", err)
	}
	c.conn = secured
	return nil
}

// greeting reads the first line. PREAUTH would be a login without a password.
func (c *imapClient) greeting() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(line, "* ")
	status, text, _ := strings.Cut(rest, " ")
	if !ok || !strings.EqualFold(status, "OK") {
		return fmt.Errorf("Server's greeting is not OK: %s", line)
	}
	c.noteCapabilities(text)
	return nil
}

// noteCapabilities takes the response code CAPABILITY of a text.
func (c *imapClient) noteCapabilities(text string) {
	if len(text) > 12 && strings.EqualFold(text[:12], "[CAPABILITY ") {
		list, _, _ := strings.Cut(text[12:], "]")
		c.capabilities = strings.Fields(strings.ToUpper(list))
	}
}

func (c *imapClient) has(capability string) bool {
	for _, have := range c.capabilities {
		if have == capability {
			return true
		}
	}
	return false
}

func (c *imapClient) askCapabilities() error {
	reply, err := c.command("CAPABILITY")
	switch {
	case err != nil:
		return err
	case reply.status != "OK":
		return fmt.Errorf("Failed to get capabilities: %s", reply.text)
	case c.capabilities == nil:
		return errors.New("Capabilities not returned by server")
	}
	return nil
}

func (c *imapClient) commandSTARTTLS(d *imapDB, host string) error {
	if c.capabilities == nil {
		if err := c.askCapabilities(); err != nil {
			return err
		}
	}
	if !c.has("STARTTLS") {
		return errors.New("Requested STARTTLS, but server doesn't support it")
	}
	reply, err := c.command("STARTTLS")
	switch {
	case err != nil:
		return err
	case reply.status != "OK":
		return fmt.Errorf("STARTTLS failed: %s", reply.text)
	case c.r.Buffered() > 0:
		return errors.New("Server sent plain text after STARTTLS")
	}
	c.capabilities = nil // what was said without TLS does not count
	if err := c.startTLS(d, host); err != nil {
		return err
	}
	return c.use(d.rawlogDir)
}

// login tries the password.
func (c *imapClient) login(user, password string) (*imapReply, error) {
	reply, err := c.tryLogin(user, password)
	if err != nil {
		return nil, fmt.Errorf("imapc(%s): %w", c.name, err)
	}
	if reply.status == "OK" {
		_, _ = io.WriteString(c.w, "A LOGOUT\r\n") // out of courtesy: nobody waits for the answer
	}
	return reply, nil
}

func (c *imapClient) tryLogin(user, password string) (*imapReply, error) {
	is8bit := strings.ContainsFunc(user+password, func(r rune) bool { return r >= 0x80 })
	switch {
	case is8bit && c.has("AUTH=PLAIN"):
		secret := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		return c.command("AUTHENTICATE PLAIN", secret)
	case c.has("LOGINDISABLED"):
		return nil, errors.New("Server does not take passwords (LOGINDISABLED)")
	case is8bit:
		return c.command("LOGIN {"+strconv.Itoa(len(user))+"}", user+" {"+strconv.Itoa(len(password))+"}", password)
	}
	return c.command("LOGIN " + quoteIMAP(user) + " " + quoteIMAP(password))
}

// quoteIMAP makes a quoted string (RFC 3501 4.3).
func quoteIMAP(s string) string { return `"` + imapQuoter.Replace(s) + `"` }

var imapQuoter = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// command sends a command, whose further lines wait for the server to ask for them, and
// returns the reply.
func (c *imapClient) command(line string, more ...string) (*imapReply, error) {
	c.tag++
	tag := strconv.Itoa(c.tag)
	if _, err := io.WriteString(c.w, tag+" "+line+"\r\n"); err != nil {
		return nil, err
	}
	for range maxIMAPLines {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		first, rest, _ := strings.Cut(line, " ")
		switch first {
		case "+":
			if len(more) == 0 {
				return nil, fmt.Errorf("Server sent unexpected continuation: %s", line)
			}
			if _, err := io.WriteString(c.w, more[0]+"\r\n"); err != nil {
				return nil, err
			}
			more = more[1:]
		case "*":
			if err := c.untagged(rest); err != nil {
				return nil, err
			}
		case tag:
			return c.tagged(rest)
		default:
			return nil, fmt.Errorf("Server sent invalid line: %s", line)
		}
	}
	return nil, errors.New("Server sends without end")
}

func (c *imapClient) untagged(rest string) error {
	word, text, _ := strings.Cut(rest, " ")
	switch strings.ToUpper(word) {
	case "CAPABILITY":
		c.capabilities = strings.Fields(strings.ToUpper(text))
	case "BYE":
		return fmt.Errorf("Disconnected from server: %s", text)
	}
	return nil
}

func (c *imapClient) tagged(rest string) (*imapReply, error) {
	status, text, _ := strings.Cut(rest, " ")
	switch status = strings.ToUpper(status); status {
	case "OK", "NO", "BAD":
		c.noteCapabilities(text)
		return &imapReply{status, text}, nil
	}
	return nil, fmt.Errorf("Server sent invalid reply: %s", rest)
}

// line reads a line. Literals are of no use before a login.
func (c *imapClient) line() (string, error) {
	line, err := c.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errors.New("Server sent too long a line")
	case errors.Is(err, io.EOF):
		return "", errors.New("Disconnected from server")
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

package asuser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/master"
)

// A Client asks the privileged process. It connects when it is first asked, and
// again when that process was started anew. Its methods may be called concurrently.
type Client struct {
	path string

	mu      sync.Mutex
	conn    *master.Conn
	lastID  uint64
	waiting map[uint64]chan answer
}

type answer struct {
	reply *Reply
	file  *os.File
}

// NewClient returns a client of the server at path.
func NewClient(path string) *Client { return &Client{path: path} }

// errGone is for requests under way when the server ended.
var errGone = errors.New("the process for deliveries ended")

// Do has one operation carried out. A file that was opened is the caller's. What
// the error says is temporary; failures of a delivery are in the reply.
func (c *Client) Do(ctx context.Context, req *Request, content *os.File) (*Reply, *os.File, error) {
	conn, done, err := c.begin(req)
	if err != nil {
		return nil, nil, err
	}
	var files []*os.File
	if content != nil {
		files = append(files, content)
	}
	if err := conn.Send(kindRequest, req, files...); err != nil {
		c.forget(req.ID)
		return nil, nil, err
	}
	cancelled := ctx.Done()
	for {
		select {
		case a, ok := <-done:
			if !ok {
				return nil, nil, errGone
			}
			if a.reply.Error != "" {
				return nil, nil, errors.New(a.reply.Error)
			}
			return a.reply, a.file, nil
		case <-cancelled:
			// A command is ended; a mailbox is finished, so that what happened is known.
			conn.Send(kindCancel, &Request{ID: req.ID}) //nolint:errcheck // it is told by the reply, or the end
			cancelled = nil
		}
	}
}

// begin connects if necessary and gives the request an id.
func (c *Client) begin(req *Request) (*master.Conn, chan answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := dial(c.path)
		if err != nil {
			return nil, nil, err
		}
		c.conn, c.waiting = conn, make(map[uint64]chan answer)
		go c.read(conn, c.waiting)
	}
	c.lastID++
	req.ID = c.lastID
	done := make(chan answer, 1)
	c.waiting[req.ID] = done
	return c.conn, done, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// read hands out the replies of one connection.
func (c *Client) read(conn *master.Conn, waiting map[uint64]chan answer) {
	for {
		msg, err := conn.Receive()
		if err != nil {
			break
		}
		reply := new(Reply)
		if msg.Kind != kindReply || msg.Decode(reply) != nil {
			msg.CloseFiles()
			continue
		}
		c.mu.Lock()
		done := waiting[reply.ID]
		delete(waiting, reply.ID)
		c.mu.Unlock()
		if done == nil {
			msg.CloseFiles()
			continue
		}
		a := answer{reply: reply}
		if len(msg.Files) > 0 {
			a.file = msg.Files[0]
		}
		done <- a
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.Close()
	if c.conn == conn {
		c.conn = nil
	}
	for id, done := range waiting {
		close(done)
		delete(waiting, id)
	}
}

// Close ends the connection; requests under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
	}
}

// User finds a user; nil if there is none.
func (c *Client) User(ctx context.Context, name string) (*User, error) {
	r, _, err := c.Do(ctx, &Request{Op: OpUser, User: name}, nil)
	if err != nil {
		return nil, err
	}
	return r.User, nil
}

// UserID finds a user by number; nil if there is none.
func (c *Client) UserID(ctx context.Context, uid uint32) (*User, error) {
	r, _, err := c.Do(ctx, &Request{Op: OpUserID, UID: uid}, nil)
	if err != nil {
		return nil, err
	}
	return r.User, nil
}

// dial connects to the server: it gets one end of a pair on which each message is
// a datagram.
func dial(path string) (*master.Conn, error) {
	addr := &net.UnixAddr{Name: path, Net: "unix"}
	uc, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, err
	}
	defer uc.Close()
	ours, theirs, err := master.NewPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if _, _, err := uc.WriteMsgUnix([]byte{0}, unix.UnixRights(int(theirs.Fd())), nil); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// receiveFile takes the descriptor that dial passes.
func receiveFile(uc *net.UnixConn) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := uc.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(err, errors.New("no socket was passed"))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(err, fmt.Errorf("%d sockets were passed", len(fds)))
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "mta"), nil
}

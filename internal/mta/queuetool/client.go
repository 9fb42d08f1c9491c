package queuetool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// A client asks the mta, or the queue itself.
type client struct {
	core *postfix.Core
	own  *backend // the queue, once this process has opened it
}

// A downError says that the mta cannot be asked, and why.
type downError struct{ errno syscall.Errno }

func (e *downError) Error() string { return "connect to tools/control: " + reason(e.errno) }

func newClient(dir string) (*client, error) {
	main, err := postfix.Load(dir)
	if err != nil {
		return nil, err
	}
	core, err := postfix.Get[postfix.Core](main)
	return &client{core: core}, err
}

// SocketPath is the socket of the queue tools, which all users can reach.
func SocketPath(core *postfix.Core) string {
	return filepath.Join(core.QueueDirectory, "tools", "control")
}

// handler takes the lines of an answer.
type handler struct {
	entry   func(*Entry) error
	changed func(id, did string)
	content func(env *queue.Envelope, r io.Reader) error
}

// ask sends a request to the mta. The error is a [downError] if none answers.
func (c *client) ask(req *Request, h handler) error {
	conn, err := net.Dial("unix", SocketPath(c.core))
	if err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return &downError{errno}
		}
		return err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return err
	}
	return readAnswer(bufio.NewReaderSize(conn, 32<<10), h)
}

// maxLine bounds a line of an answer: a message with all its recipients.
const maxLine = 64 << 20

// readAnswer reads the lines of an answer. A line is an entry, an envelope or
// one of the fields of answer: they have no field in common.
func readAnswer(in *bufio.Reader, h handler) error {
	var env *queue.Envelope // of the last entry
	entry := false
	for {
		line, err := readLine(in)
		if err != nil {
			return fmt.Errorf("the mail system ended its answer early: %w", err)
		}
		if bytes.HasPrefix(line, entryStart) {
			e := new(Entry)
			if readEntry(line, e) {
				entry, env = true, nil
				if err := h.entry(e); err != nil {
					return err
				}
				continue
			}
		}
		var l struct {
			Entry
			answer
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("answer of the mail system: %w", err)
		}
		switch {
		case l.Done && l.Error != "":
			return errors.New(l.Error)
		case l.Done:
			return nil
		case l.Changed != "":
			h.changed(l.Changed, l.Did)
		case l.Content != nil:
			if !entry || env == nil || *l.Content < 0 {
				return errors.New("answer of the mail system: content without envelope")
			}
			body := io.LimitReader(in, *l.Content)
			if err := h.content(env, body); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, body); err != nil {
				return err
			}
		case l.ID != "":
			entry, env = true, nil
			if err := h.entry(&l.Entry); err != nil {
				return err
			}
		default:
			env = new(queue.Envelope)
			if err := json.Unmarshal(line, env); err != nil {
				return fmt.Errorf("answer of the mail system: %w", err)
			}
		}
	}
}

// readLine reads a line of at most maxLine bytes.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return nil, errors.New("line too long")
		}
	}
}

// reach asks the mta, or, for root, the queue itself where no mta runs.
func (c *client) reach(req *Request, h handler) error {
	if c.own != nil {
		return c.own.do(req, local{h}, who{root: true})
	}
	err := c.ask(req, h)
	var down *downError
	if errors.As(err, &down) && os.Geteuid() == 0 {
		return c.direct(req, h)
	}
	return err
}

// direct carries a request out in this process.
func (c *client) direct(req *Request, h handler) error {
	if err := c.open(); err != nil {
		return err
	}
	return c.own.do(req, local{h}, who{root: true})
}

// open opens the queue as $mail_owner, for good: its files stay the mta's.
func (c *client) open() error {
	id, err := master.UserIdentity(c.core.MailOwner, "", nil, "")
	if err != nil {
		return err
	}
	dir := filepath.Join(c.core.QueueDirectory, queue.Subdir)
	if err := os.Mkdir(dir, 0o700); err == nil && id.Change {
		err = os.Chown(dir, id.UID, id.GID) // there was never any mail
		if err != nil {
			return err
		}
	}
	if err := master.Become(id); err != nil {
		return err
	}
	store, err := queue.Open(dir, &queue.Settings{LongIDs: c.core.EnableLongQueueIDs}, nil)
	if err != nil {
		return err
	}
	c.own = &backend{store: store, dir: c.core.QueueDirectory}
	return nil
}

// close ends what open began.
func (c *client) close() error {
	if c.own == nil {
		return nil
	}
	return c.own.store.Close()
}

// local is the reply within this process.
type local struct{ h handler }

func (l local) entry(e *Entry) error { return l.h.entry(e) }
func (l local) changed(id, did string) error {
	l.h.changed(id, did)
	return nil
}
func (l local) content(m *queue.Message, c *queue.Content) error {
	return l.h.content(&m.Envelope, c.NewReader())
}

package queuetool

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// A client asks the mta, or the queue itself.
type client struct {
	core *postfix.Core
	dir  string // configuration directory
}

// errDown says that the mta does not run; the reason is wrapped.
var errDown = errors.New("mail system is down")

func newClient(dir string) (*client, error) {
	main, err := postfix.Load(dir)
	if err != nil {
		return nil, err
	}
	core, err := postfix.Get[postfix.Core](main)
	return &client{core, dir}, err
}

// handler takes the lines of an answer.
type handler struct {
	entry   func(*Entry) error
	changed func(id string)
	content func(env *queue.Envelope, r io.Reader) error
}

// ask sends a request to the mta. It returns errDown if none answers.
func (c *client) ask(req *Request, h handler) error {
	conn, err := net.Dial("unix", filepath.Join(c.core.QueueDirectory, "public", "control"))
	if err != nil {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(req); err != nil {
		return err
	}
	return readAnswer(bufio.NewReaderSize(conn, 32<<10), h)
}

// readAnswer reads the lines of an answer. A line is an entry, an envelope or
// one of the fields of answer: they have no field in common.
func readAnswer(in *bufio.Reader, h handler) error {
	var env *queue.Envelope
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("the mail system ended its answer early: %w", err)
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
			h.changed(l.Changed)
		case l.Content > 0:
			body := io.LimitReader(in, l.Content)
			if err := h.content(env, body); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, body); err != nil {
				return err
			}
		case l.ID != "":
			if err := h.entry(&l.Entry); err != nil {
				return err
			}
		default:
			env = new(queue.Envelope)
			if err := json.Unmarshal(line, env); err != nil {
				return err
			}
		}
	}
}

// direct opens the queue in this process and carries a request out.
func (c *client) direct(req *Request, h handler) error {
	id, err := master.UserIdentity(c.core.MailOwner, "", nil, "")
	if err != nil {
		return err
	}
	if err := master.Become(id); err != nil {
		return err
	}
	store, err := queue.Open(filepath.Join(c.core.QueueDirectory, "segments"), &queue.Settings{LongIDs: c.core.EnableLongQueueIDs}, nil)
	if err != nil {
		return err
	}
	err = (&backend{store: store}).do(req, local{h})
	return errors.Join(err, store.Close())
}

// local is the reply within this process.
type local struct{ h handler }

func (l local) entry(e *Entry) error { return l.h.entry(e) }
func (l local) changed(id string) error {
	l.h.changed(id)
	return nil
}
func (l local) content(m *queue.Message, c *queue.Content) error {
	return l.h.content(&m.Envelope, c.NewReader())
}

// configDirectory is where main.cf is, without -c.
func configDirectory() string {
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		return dir
	}
	return "/etc/postfix"
}

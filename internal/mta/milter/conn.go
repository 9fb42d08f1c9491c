package milter

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// A conn is the connection to one filter. After an error it is closed, and what the
// filter would say is settled.
type conn struct {
	*service
	list  *List
	wire  *wire // nil: not connected
	state state
	fixed Verdict // what the filter says to everything, in some states

	wants   steps // what the filter asked for
	absent  steps // commands that its protocol does not have
	skipped byte  // command that it wants no more of
	macros  [stages][]string
}

// state is what a filter is to hear next.
type state uint8

const (
	closed    state = iota
	ready           // connected: the client comes next
	listening       // to commands
	deaf            // it has decided about the message
	settled         // it has decided about the connection
	failed          // it cannot be asked
)

// fail gives the filter up. What it is given up for was logged.
func (c *conn) fail() Verdict { return c.settle(failed, c.failure(c.list.log)) }

// misconfigure is fail for a filter that is configured or programmed wrongly.
func (c *conn) misconfigure() Verdict { return c.settle(failed, c.misconfigured()) }

// settle ends the dialogue with the filter: it always says the same from now on.
func (c *conn) settle(s state, v Verdict) Verdict {
	c.close()
	c.state, c.fixed = s, v
	return v
}

func (c *conn) close() {
	if c.wire != nil {
		c.wire.conn.Close()
		c.wire = nil
	}
}

func (c *conn) warn(format string, args ...any) {
	c.list.log.Warningf("milter %s: %s", c.name, fmt.Sprintf(format, args...))
}

// open connects to the filter and negotiates.
func (c *conn) open() {
	version, offered, bad := parseProtocol(c.protocol)
	switch {
	case bad != "":
		c.warn("bad protocol information: %s", bad)
		c.misconfigure()
		return
	case version == 0:
		c.warn("no protocol version information")
		c.misconfigure()
		return
	}
	network, address, ok := c.endpoint()
	if !ok {
		c.misconfigure()
		return
	}
	nc, err := net.DialTimeout(network, address, c.connect)
	if err != nil {
		c.list.log.Warningf("connect to Milter service %s: %s", c.name, reason(err))
		c.fail()
		return
	}
	c.wire, c.absent = newWire(nc), omittable&^offered
	if err := c.negotiate(version, offered); err != nil {
		c.warn("%v", err)
		if _, ok := err.(conflictError); !ok {
			c.warn("read error in initial handshake")
		}
		c.fail()
		return
	}
	c.state = ready
}

// endpoint is where the filter listens: "inet:host:port", "unix:path" or "local:path".
func (c *conn) endpoint() (network, address string, ok bool) {
	kind, rest, _ := strings.Cut(c.name, ":")
	if kind == "" || rest == "" {
		c.list.log.Warningf("Milter service needs transport:endpoint instead of \"%s\"", c.name)
		return "", "", false
	}
	switch kind {
	case "inet":
		host, port := "localhost", rest
		if i := strings.LastIndexByte(rest, ':'); i >= 0 {
			host, port = strings.Trim(rest[:i], "[]"), rest[i+1:]
		}
		return "tcp", net.JoinHostPort(host, port), true
	case "unix", "local":
		if !filepath.IsAbs(rest) {
			rest = filepath.Join(c.list.dir, rest)
		}
		return "unix", rest, true
	}
	c.list.log.Warningf("invalid transport name: %s in Milter service: %s", kind, c.name)
	return "", "", false
}

// A conflictError is that a filter wants what there is not.
type conflictError string

func (e conflictError) Error() string { return string(e) }

// negotiate tells the filter what there is, and learns what it wants.
func (c *conn) negotiate(version uint32, offered steps) error {
	w := c.wire
	w.begin(cmdOptions)
	w.number(version)
	w.number(actions)
	w.number(uint32(offered))
	w.end()
	if err := w.flush(c.command); err != nil {
		return fmt.Errorf("error writing command: %s", reason(err))
	}
	code, data, err := w.receive(c.command)
	if err != nil {
		return c.unread(cmdOptions, err)
	}
	if code != cmdOptions {
		return conflictError(fmt.Sprintf("unexpected reply \"%c\" in initial handshake", code))
	}
	f := fields{data: data}
	spoken, asked, wants := f.number(), f.number(), f.number()
	switch {
	case f.err != nil:
		return f.err
	case spoken > version:
		return conflictError(fmt.Sprintf("protocol version %d conflict with MTA protocol version %d", spoken, version))
	case asked&^actions != 0:
		return conflictError(fmt.Sprintf("request mask 0x%x conflict with MTA request mask 0x%x", asked, actions))
	}
	if known, ok := stepsOf(spoken); ok {
		c.absent |= omittable &^ known
	} else {
		c.warn("unexpected protocol version %d", spoken)
	}
	c.wants = steps(wants)
	for len(f.data) > 0 {
		number, list := f.number(), f.text()
		switch {
		case f.err != nil:
			return f.err
		case number >= uint32(stageUnknown):
			c.warn("ignoring unknown macro type %d", number)
		default:
			c.macros[number] = macroNames(list)
		}
	}
	return nil
}

// unread words why there is no answer to a command.
func (c *conn) unread(code byte, err error) error {
	if _, ok := err.(errLength); ok {
		return err
	}
	return fmt.Errorf("can't read %s reply packet header: %s", commandNames[code], reason(err))
}

// send sends a command with its macros, and reads the answer, if there is to be one.
// arguments adds what belongs to the command.
func (c *conn) send(cmd *command, macros func(c *conn, cmd *command), arguments func(w *wire), edit *editor) Verdict {
	if c.wire == nil || cmd.omit&c.absent != 0 || c.skipped == cmd.code {
		return c.fixed
	}
	c.skipped = 0
	macros(c, cmd)
	if cmd.omit&c.wants != 0 {
		return c.fixed
	}
	w := c.wire
	w.begin(cmd.code)
	if arguments != nil {
		arguments(w)
	}
	w.end()
	silent := cmd.noReply&c.wants != 0
	if silent && len(w.out) < maxUnsent || !c.flush(cmd) || silent {
		return c.fixed
	}
	return c.answer(cmd, edit)
}

// flush sends what waits. It is false where that fails.
func (c *conn) flush(cmd *command) bool {
	if err := c.wire.flush(c.limit(cmd)); err != nil {
		c.warn("error writing command: %s", reason(err))
		c.fail()
		return false
	}
	return true
}

// limit is how long a filter may take.
func (c *conn) limit(cmd *command) time.Duration {
	switch cmd.code {
	case cmdHeader, cmdEOH, cmdBody, cmdEnd:
		return c.content
	}
	return c.command
}

// answer reads answers until one decides. Changes are for edit, which only the end of the
// message has.
func (c *conn) answer(cmd *command, edit *editor) Verdict {
	for {
		code, data, err := c.wire.receive(c.limit(cmd))
		if err != nil {
			c.warn("%v", c.unread(cmd.code, err))
			return edit.cut(c.fail())
		}
		r, err := parseReply(code, data)
		if err != nil {
			c.warnReply(code, len(data), err)
			return edit.cut(c.fail())
		}
		if code != changeBody {
			edit.endBody()
		}
		if edit.takes(code) {
			if err := edit.change(&r); err != nil {
				c.warn("%v", err)
				return edit.done(c.misconfigure())
			}
			continue
		}
		v, decided := c.decide(cmd, &r)
		if decided {
			return edit.done(v)
		}
	}
}

func (c *conn) warnReply(code byte, n int, err error) {
	if err == errExtra {
		c.warn("reply %s was followed by %d data bytes", replyNames[code], n)
		return
	}
	c.warn("%v", err)
}

// decide does what an answer says, which may be nothing yet.
func (c *conn) decide(cmd *command, r *reply) (v Verdict, decided bool) {
	session := cmd.code == cmdConnect || cmd.code == cmdHelo
	switch r.code {
	case replyProgress:
		return v, false
	case replyQuarantine:
		c.fixed = Verdict{Action: Hold}
		return v, false
	case replyContinue:
		return c.fixed, true
	case replySkip:
		c.skipped = cmd.code
		return c.fixed, true
	case replyAccept:
		if session {
			return c.settle(settled, c.fixed), true
		}
		c.state = deaf
		return c.fixed, true
	case replyDiscard:
		if session {
			c.warn("DISCARD action is not allowed for connect or helo")
			return c.fixed, true
		}
		c.state = deaf
		return Verdict{Action: Discard}, true
	case replyShutdown:
		return c.settle(settled, Verdict{Action: Shutdown, Reply: replyClosing}), true
	case replyReject:
		v = refuse(replyRejected)
	case replyTempfail:
		v = refuse(replyUnavailable)
	case replyText:
		text, err := parseText(r.name)
		if err != nil {
			c.warn("%v", err)
			return c.misconfigure(), true
		}
		v = refuse(text)
	default:
		name := replyNames[r.code]
		if name == "" {
			name = "(unknown filter reply)"
		}
		c.warn("unexpected filter response %s after event %s", name, commandNames[cmd.code])
		return c.fail(), true
	}
	if c.list.soft {
		v.Reply = softened(v.Reply)
	}
	if session {
		return c.settle(settled, v), true
	}
	return v, true
}

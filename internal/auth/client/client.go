package client

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// A Mechanism is one that the server offers.
type Mechanism struct {
	Name  string // upper case
	Flags sasl.Flags
}

// Options of [Dial]. The zero value is useful.
type Options struct {
	PID uint32          // given to the server as that of this process; 0: the real one
	Log *maillog.Logger // for connections lost
}

// A Request describes a login.
type Request struct {
	Mechanism  string
	Service    string // "imap", "smtp", ...
	Local      netip.AddrPort
	Remote     netip.AddrPort // as forwarded by a proxy, if there is one
	RealLocal  netip.AddrPort // of the connection, if different
	RealRemote netip.AddrPort

	Secured         bool // TLS, or as good as it
	TLS             bool // TLS
	ValidClientCert bool
	CertUsername    string
	Session         string   // session id
	LocalName       string   // TLS server name
	ClientID        string   // parameters of IMAP ID
	ForwardFields   string   // TAB separated fields from a proxy
	Extra           []string // further name=value, or name
	NoPenalty       bool     // do not wait for earlier failures from this address
	FinalResponse   bool     // the protocol can carry data with a success

	// Bindings are the channel bindings of a TLS connection. Only our own server
	// knows what to do with them.
	Bindings []sasl.Binding

	Initial    []byte // initial response, decoded
	HasInitial bool
}

// A Result is a successful login.
type Result struct {
	ID     uint32 // of the request, with PID and Cookie for [MasterClient.Request]
	PID    uint32
	Cookie string
	User   string
	Fields Fields // all fields of the reply, user too
}

// A Challenger answers the server's challenges with what its client says. It
// returns [ErrAborted], or another error, to cancel the exchange; Authenticate
// returns that error.
type Challenger func(challenge []byte) (response []byte, err error)

// A Client asks over the client protocol. It may be used concurrently.
type Client struct {
	link *link
	pid  uint32
}

// Dial connects to an auth-client or login/login socket: network is "unix" or
// "tcp". It returns once the server has told its mechanisms. ctx is for the
// first connection only.
func Dial(ctx context.Context, network, addr string, opt Options) (*Client, error) {
	c := &Client{pid: opt.PID}
	if c.pid == 0 {
		c.pid = uint32(os.Getpid())
	}
	hello := wire.AppendID([]byte("VERSION\t1\t2\nCPID"), c.pid)
	c.link = newLink(network, addr, append(hello, '\n'), newClientHandshake, opt.Log)
	if _, err := c.link.connect(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the connection. Exchanges under way fail.
func (c *Client) Close() error { return c.link.close() }

// PID returns the process id given to the server.
func (c *Client) PID() uint32 { return c.pid }

// Mechanisms returns what the server offers, in its order of preference. The
// caller must not change it.
func (c *Client) Mechanisms() []Mechanism {
	if h := c.link.lastHandshake(); h != nil {
		return h.(*clientHandshake).mechanisms
	}
	return nil
}

// Authenticate does one exchange. challenge is called in the caller's
// goroutine for each challenge. A login that is refused returns a
// [*Failure].
func (c *Client) Authenticate(ctx context.Context, req *Request, challenge Challenger) (Result, error) {
	conn, err := c.link.connect(ctx)
	if err != nil {
		return Result{}, err
	}
	hello := conn.handshake.(*clientHandshake)
	if !hello.offers(req.Mechanism) {
		return Result{}, ErrMechanism
	}
	call, err := conn.start(func(b []byte, id uint32) []byte { return appendAuth(b, id, req) })
	if err != nil {
		return Result{}, err
	}
	return c.converse(ctx, conn, call, challenge)
}

// converse relays challenges until the server decides.
func (c *Client) converse(ctx context.Context, conn *conn, call *call, challenge Challenger) (Result, error) {
	for {
		reply, err := call.wait(ctx)
		if err != nil {
			cancel(conn, call)
			return Result{}, err
		}
		switch reply.verb {
		case "OK":
			id := call.id
			conn.end(call)
			return newResult(id, c.pid, conn.handshake.(*clientHandshake).cookie, reply.rest), nil
		case "FAIL":
			conn.end(call)
			return Result{}, newFailure(reply.rest)
		}
		if err := answer(conn, call, reply.rest, challenge); err != nil {
			cancel(conn, call)
			return Result{}, err
		}
	}
}

// cancel tells the server that nobody waits for the request any more.
func cancel(conn *conn, call *call) {
	id := call.id
	conn.end(call)
	conn.write(func(b []byte) []byte { //nolint:errcheck // a lost connection cancels as well
		return append(wire.AppendID(append(b, "CANCEL"...), id), '\n')
	})
}

// answer handles one CONT reply.
func answer(conn *conn, call *call, text string, challenge Challenger) error {
	data, err := wire.DecodeBase64(nil, []byte(text))
	if err != nil {
		return errors.New("auth: the server's challenge is not base64")
	}
	if challenge == nil {
		return ErrAborted
	}
	response, err := challenge(data)
	if err != nil {
		return err
	}
	return conn.write(func(b []byte) []byte {
		b = wire.AppendID(append(b, "CONT"...), call.id)
		b = wire.AppendBase64(append(b, '\t'), response)
		return append(b, '\n')
	})
}

func newResult(id, pid uint32, cookie, text string) Result {
	r := Result{ID: id, PID: pid, Cookie: cookie, Fields: parseFields(text)}
	r.User, _ = r.Fields.Get("user")
	return r
}

// clientHandshake is what the server says first.
type clientHandshake struct {
	mechanisms []Mechanism
	cookie     string
	pid        uint32 // of the server
	number     uint32 // of the connection
}

func newClientHandshake() handshake { return new(clientHandshake) }

func (h *clientHandshake) offers(name string) bool {
	for i := range h.mechanisms {
		if equalFold(h.mechanisms[i].Name, name) {
			return true
		}
	}
	return false
}

// maxMechanisms bounds what a server may offer.
const maxMechanisms = 100

func (h *clientHandshake) line(verb, rest string) (done bool, err error) {
	switch verb {
	case "VERSION":
		return false, checkVersion(rest, wire.ClientMajor)
	case "COOKIE":
		h.cookie = rest
	case "SPID":
		h.pid, _ = wire.ParseID([]byte(rest))
	case "CUID":
		h.number, _ = wire.ParseID([]byte(rest))
	case "MECH":
		if len(h.mechanisms) == maxMechanisms {
			return false, errors.New("auth: the server offers more than 100 mechanisms")
		}
		h.mechanisms = append(h.mechanisms, parseMechanism(rest))
	case "DONE":
		return true, nil
	}
	return false, nil // what is unknown is ignored, for newer servers
}

func parseMechanism(text string) Mechanism {
	name, text, _ := wire.CutString(text)
	m := Mechanism{Name: name}
	for text != "" {
		var flag string
		flag, text, _ = wire.CutString(text)
		m.Flags |= sasl.ParseFlag(flag)
	}
	return m
}

package auth

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// A state is what a request is doing. It changes under the lock of its
// connection; everything else of a request belongs to the one goroutine that
// is working on it.
type state uint8

const (
	stateBusy    state = iota // worked on, or delayed
	stateWaiting              // for the client's CONT
	stateDone                 // succeeded, waits for REQUEST
)

// A request is one AUTH.
type request struct {
	db.Request
	conn  *clientConn
	id    uint32
	state state
	since time.Time // when it began to wait
	asked time.Time // when the client's last message was looked at

	mech         *sasl.Mechanism
	exchange     sasl.Server
	chain        passChain
	initial      []byte
	hasInitial   bool
	badInitial   bool
	noPenalty    bool
	finalOK      bool // the client can take data with a success
	certUsername string
	failures     int // of this address, before this request
	hasOriginal  bool
	final        []byte  // data of the mechanism for the success
	proven       bool    // final was sent, and only its receipt is missing
	alone        bool    // nobody else may be in an exchange as this user
	refusal      *result // was told by the mechanism, and only its receipt is missing
	bindings     []sasl.Binding

	policyAsked, policyRefusal bool
	proxyDone                  bool // finishProxy was called
}

// parseAuth reads "ID MECH PARAM...".
func (c *clientConn) parseAuth(args []byte) (*request, error) {
	idText, rest, _ := wire.Cut(args)
	name, rest, ok := wire.Cut(rest)
	id, idOK := wire.ParseID(idText)
	if len(name) == 0 || !idOK || id == 0 {
		return nil, c.bug("%d sent broken AUTH request", c.pid)
	}
	mech := c.server().mechanism(string(name))
	if mech == nil || (mech.Flags&sasl.Private != 0 && c.kind != KindLogin) {
		return nil, c.bug("%d requested unsupported authentication mechanism %s", c.pid, shown(name))
	}
	req := &request{conn: c, id: id, mech: mech}
	req.Mechanism, req.Log, req.ClientPID = mech.Name, c.server().log, c.pid
	req.Debug, req.DebugPasswords = c.server().set.Debug, c.server().set.DebugPasswords
	for ok {
		var param []byte
		param, rest, ok = wire.Cut(rest)
		key, value, _ := strings.Cut(string(param), "=")
		if key == "resp" {
			if ok {
				return nil, c.bug("%d sent AUTH parameters after 'resp'", c.pid)
			}
			req.setInitial(value)
			break
		}
		req.setParam(key, wire.Unescape(value))
	}
	if req.Service == "" {
		return nil, c.bug("%d didn't specify service in request", c.pid)
	}
	return req, nil
}

// setInitial keeps the initial response. An empty one may be written "=".
func (r *request) setInitial(value string) {
	r.hasInitial = true
	if value == "=" {
		value = ""
	}
	var err error
	r.initial, err = wire.DecodeBase64(make([]byte, 0, base64.StdEncoding.DecodedLen(len(value))), []byte(value))
	r.badInitial = err != nil
}

// setParam handles the parameters of AUTH alone.
func (r *request) setParam(key, value string) {
	switch key {
	case "final-resp-ok":
		r.finalOK = true
	case "no-penalty":
		r.noPenalty = true
	case "valid-client-cert":
		r.ValidCert = true
	case "cert_username":
		r.certUsername = value
	case "debug":
		r.Debug = true
	case "client_id":
		r.ClientID = value
	case "channel_binding": // of our own login processes
		r.addBinding(value)
	case "forward_fields":
		r.setForwardFields(value)
	default:
		setCommonParam(&r.Request, key, value)
	}
}

// setForwardFields keeps the fields that a proxy passed on, as extra fields for
// %{passdb:forward_X}.
func (r *request) setForwardFields(value string) {
	text, err := wire.DecodeBase64(nil, []byte(value))
	if err != nil {
		return
	}
	for item := range strings.SplitSeq(string(text), "\t") {
		name, value, _ := strings.Cut(wire.Unescape(item), "=")
		if name != "" {
			r.Fields.Set(db.Field{Name: "forward_" + name, Value: value})
		}
	}
}

// setCommonParam handles parameters of AUTH, USER, PASS and REQUEST. Unknown
// and invalid ones are ignored.
func setCommonParam(r *db.Request, key, value string) {
	switch key {
	case "service":
		r.Service = value
	case "lip":
		r.Local = withAddr(r.Local, value)
	case "rip":
		r.Remote = withAddr(r.Remote, value)
	case "lport":
		r.Local = withPort(r.Local, value)
	case "rport":
		r.Remote = withPort(r.Remote, value)
	case "real_lip":
		r.RealLocal = withAddr(r.RealLocal, value)
	case "real_rip":
		r.RealRemote = withAddr(r.RealRemote, value)
	case "real_lport":
		r.RealLocal = withPort(r.RealLocal, value)
	case "real_rport":
		r.RealRemote = withPort(r.RealRemote, value)
	case "local_name":
		r.LocalName = value
	case "session":
		r.Session = value
	case "secured":
		r.Secured = "secured"
		if value == "tls" {
			r.Secured = "TLS"
		}
	}
}

func withAddr(a netip.AddrPort, text string) netip.AddrPort {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return a
	}
	return netip.AddrPortFrom(ip, a.Port())
}

func withPort(a netip.AddrPort, text string) netip.AddrPort {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return a
	}
	return netip.AddrPortFrom(a.Addr(), uint16(port))
}

// infof logs a failure of the exchange itself.
func (r *request) infof(format string, args ...any) {
	set := r.conn.server().set
	if set.Verbose || set.VerbosePasswords != "no" {
		r.Log.Infof("%s"+format, append([]any{r.Prefix(strings.ToLower(r.Mechanism))}, args...)...)
	}
}

// refuse ends the request with a reason, without asking any database.
func (r *request) refuse(code, reason string) {
	r.infof("%s", reason)
	r.conn.finish(r, false, func(b []byte) []byte {
		b = wire.AppendID(append(b, "FAIL"...), r.id)
		if code != "" {
			b = wire.AppendField(b, "code", code)
		}
		b = wire.AppendField(b, "reason", reason)
		return append(b, '\n')
	})
}

// begin waits for the penalty of the client's address, then starts the
// exchange.
func (r *request) begin() {
	s := r.conn.server()
	switch {
	case s.set.SSLRequireCert && !r.ValidCert:
		r.refuse("", "Client didn't present valid SSL certificate")
		return
	case s.set.SSLRequireCert && s.set.SSLUsernameFromCert && r.certUsername == "":
		r.refuse("", "SSL certificate didn't contain username")
		return
	case r.badInitial:
		r.refuse("invalid_base64", "Invalid base64 data in initial response")
		return
	}
	r.exchange = r.newExchange()
	if s.penalizes(r) {
		r.failures = s.shared.penalties.lookup(r.Remote.Addr())
		if wait := penaltyWait(r.failures); wait > 0 {
			time.AfterFunc(wait, func() { r.guard(r.start) })
			return
		}
	}
	r.start()
}

func (r *request) start() {
	if !r.hasInitial {
		r.next(nil)
		return
	}
	r.next(r.initial)
}

// proceed takes the data of a CONT.
func (r *request) proceed(data []byte) {
	response, err := wire.DecodeBase64(make([]byte, 0, base64.StdEncoding.DecodedLen(len(data))), data)
	if err != nil {
		r.refuse("invalid_base64", "Invalid base64 data in continued response")
		return
	}
	r.next(response)
}

// next gives the mechanism the client's message and does what it says.
func (r *request) next(response []byte) {
	r.asked = time.Now()
	switch {
	case r.proven:
		r.succeed()
		return
	case r.refusal != nil:
		r.fail(*r.refusal)
		return
	case r.hasNUL(response):
		r.fail(resultMismatch)
		return
	}
	step, err := r.exchange.Next(response)
	r.initial = nil
	if err != nil {
		r.mechanismFailed(step, err)
		return
	}
	r.do(step)
}

func (r *request) do(step sasl.Step) {
	switch step.Action {
	case sasl.Challenge:
		if step.Authcid != "" && !r.identify(step) {
			return
		}
		r.conn.challenge(r, step.Data)
	case sasl.Verify:
		r.verify(step)
	case sasl.Accept:
		r.accept(step)
	case sasl.Fetch:
		r.fetch(step)
	}
}

// identify sets the user; it fails the request if that is not possible.
func (r *request) identify(step sasl.Step) bool {
	if r.hasOriginal {
		return true
	}
	r.hasOriginal = true
	names := r.conn.server().names
	var err error
	if cert := r.certUsername; cert != "" && r.ValidCert && r.conn.server().set.SSLUsernameFromCert {
		err = names.setWhole(&r.Request, cert) // whatever the client says
		r.OriginalUser = step.Authcid
	} else {
		err = names.set(&r.Request, step.Authcid)
	}
	if step.Action == sasl.Accept {
		r.OriginalUser = "" // EXTERNAL: the client said nothing
	}
	if err == nil && step.Authzid != "" {
		err = names.setLogin(&r.Request, step.Authzid)
	}
	if err != nil {
		r.infof("%v", err)
		r.fail(resultMismatch)
		return false
	}
	return true
}

// verify asks the passdbs whether the password is right.
func (r *request) verify(step sasl.Step) {
	if !r.identify(step) {
		return
	}
	r.Password = step.Password
	r.checkPolicy(false, func() {
		if strings.ContainsAny(r.Password, "\x01\t\r\n") {
			r.Log.Infof("Attempted login with password having illegal chars")
			r.refused(resultMismatch)
			return
		}
		r.askPassdbs()
	})
}

// askPassdbs asks the passdbs about the password.
func (r *request) askPassdbs() {
	r.chain = r.conn.server().newPassChain(&r.Request, purposeVerify)
	r.ask(false)
}

// accept ends an exchange that has proven who the client is. The passdbs must still
// let the user in without a password (nopassword), as in Dovecot, and may add
// fields; anonymous is nobody they know.
func (r *request) accept(step sasl.Step) {
	if r.chain.fetch != "" { // the passdbs were asked, and gave what the proof is about
		if !r.chain.success { // which is right, but the rules do not make that a success
			r.fail(resultMismatch)
			return
		}
		r.final = step.Data
		if step.Store != "" {
			go r.guard(func() { r.store(step.Store) })
			return
		}
		if r.final != nil && !r.finalOK {
			// The protocol has no place for it in the success: it goes before, and the
			// client answers with nothing.
			r.proven = true
			r.conn.challenge(r, r.final)
			return
		}
		r.succeed()
		return
	}
	if r.mech.Flags&sasl.Anonymous != 0 {
		if step.Authcid == "" { // auth_anonymous_username is: nobody may be anonymous
			r.infof("%v", errEmptyUsername)
			r.fail(resultMismatch)
			return
		}
		r.Log.Infof("anonymous(%s): login", step.Trace)
		r.User, r.OriginalUser, r.hasOriginal = step.Authcid, step.Authcid, true
		r.succeed()
		return
	}
	if !r.identify(step) {
		return
	}
	r.final = step.Data
	r.Password = ""
	r.checkPolicy(false, func() { r.askPassdbs() })
}

// fetch gets stored credentials for a mechanism that checks them itself.
func (r *request) fetch(step sasl.Step) {
	if !r.identify(step) {
		return
	}
	r.alone = step.Alone
	r.checkPolicy(false, func() {
		r.chain = r.conn.server().newPassChain(&r.Request, purposeVerify)
		r.chain.fetch, r.chain.hashUser = step.Scheme, step.HashUser
		r.ask(false)
	})
}

// ask runs the chain of passdbs: here, as far as that is quick, then where it may wait.
func (r *request) ask(mayWait bool) {
	res, done := r.chain.run(r.conn.ctx, mayWait)
	switch {
	case !done:
		go r.guard(func() { r.ask(true) })
	case res != resultOK:
		r.refused(res)
	case r.chain.fetch != "":
		r.resume()
	default:
		r.succeed()
	}
}

// errNoCredentials is what is wrong where the passdbs let the user in and none has a
// password that could be proven.
var errNoCredentials = errors.New("invalid credentials length")

// resume gives the mechanism the credentials that it asked for.
func (r *request) resume() {
	mech, ok := r.exchange.(sasl.CredentialServer)
	if !ok {
		r.fail(resultInternal)
		return
	}
	if r.alone && !r.conn.shared.onetime.enter(r) {
		r.mechanismFailed(sasl.Step{}, sasl.Alarm("user is locked, race attack?"))
		return
	}
	step, err := mech.Credentials([]byte(r.chain.found.data))
	if err == nil && r.chain.found.data == "" {
		err = errNoCredentials
	}
	if err != nil {
		r.mechanismFailed(step, err)
		return
	}
	r.do(step)
}

// guard runs work on the request. A panic is a temporary failure of this login,
// and nothing else: neither of the connection, on which all logins of a process
// are, nor of the server.
func (r *request) guard(work func()) {
	defer func() {
		if v := recover(); v != nil {
			logPanic(r.Log, v)
			r.conn.finish(r, false, func(b []byte) []byte {
				return append(wire.AppendID(append(b, "FAIL"...), r.id), "\tcode=temp_fail\n"...)
			})
		}
	}()
	work()
}

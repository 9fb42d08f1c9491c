package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

const (
	maxPolicyRequests = 100      // at the same time
	maxPolicyAnswer   = 64 << 10 // bytes
	policyIdle        = 10 * time.Second
)

// A policy asks a policy server (auth_policy_server_url) about logins, before or after
// their passwords are checked, and tells it how they ended. A request is a POST of JSON to
// the URL with "command=allow" or "command=report"; the answer to the former
//
//	{"status": N, "msg": "text"}
//
// refuses the login if N is negative, and delays it by N seconds if it is positive.
type policy struct {
	set     *PolicySettings
	verbose bool
	client  http.Client
	header  http.Header
	url     *url.URL
	attrs   []policyAttr
	pool    pool
}

func newPolicy(set *PolicySettings, drivers *db.Settings, verbose bool) (*policy, error) {
	if set.URL == "" {
		return nil, nil
	}
	p := &policy{set: set, verbose: verbose, header: http.Header{}, pool: pool{max: maxPolicyRequests}}
	var err error
	if p.attrs, err = parsePolicyAttrs(set.Attributes); err != nil {
		return nil, err
	}
	if p.url, err = url.Parse(set.URL); err != nil || p.url.Host == "" || p.url.Scheme != "http" && p.url.Scheme != "https" {
		return nil, fmt.Errorf("auth_policy_server_url: %s is not the URL of an HTTP server", set.URL)
	}
	tlsConfig, err := policyTLS(set, drivers)
	if err != nil {
		return nil, err
	}
	p.client = http.Client{
		Transport: &http.Transport{
			TLSClientConfig: tlsConfig, MaxConnsPerHost: maxPolicyRequests, MaxIdleConnsPerHost: maxPolicyRequests,
			IdleConnTimeout: policyIdle, DisableCompression: true,
		},
		Timeout:       time.Duration(set.TimeoutMsecs) * time.Millisecond,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.header.Set("Content-Type", "application/json")
	p.header.Set("User-Agent", "dovecot/auth-policy-client")
	if set.APIHeader != "" {
		name, value, ok := strings.Cut(set.APIHeader, ":")
		if !ok {
			name, value = "X-API-Key", set.APIHeader
		}
		p.header.Set(name, strings.TrimSpace(value))
	}
	return p, nil
}

// close drops idle connections.
func (p *policy) close() {
	if p != nil {
		p.client.CloseIdleConnections()
	}
}

// A verdict is what the server says about a login.
type verdict struct {
	status int    // < 0: no; otherwise seconds to wait
	reason string // for the client
}

// checkPolicy asks the server, if there is one and it is asked at this point, and goes on
// with next. after tells that the login has succeeded; then it is not delayed any more.
func (r *request) checkPolicy(after bool, next func()) {
	p := r.conn.server().policy
	switch {
	case p == nil || !after && (r.policyAsked || !p.set.CheckBefore) || after && !p.set.CheckAfter:
		next()
		return
	}
	r.policyAsked = true
	text := p.request(r, nil)
	p.pool.submit(func() {
		r.guard(func() {
			v := p.ask(r, text)
			p.logVerdict(r, v)
			switch {
			case p.set.LogOnly && v.status != 0:
				next()
			case v.status < 0:
				r.fail(resultMismatch)
			case v.status > 0 && !after && !r.noPenalty:
				time.AfterFunc(time.Duration(v.status)*time.Second, func() { r.guard(next) })
			default:
				next()
			}
		})
	})
}

// reportPolicy tells the server how the login ended.
func (r *request) reportPolicy(success bool) {
	p := r.conn.server().policy
	if p == nil || !p.set.ReportAfter {
		return
	}
	text := p.request(r, &success)
	log, prefix, debug := r.Log, r.Prefix("policy"), r.Debug
	p.pool.submit(func() {
		defer func() {
			if v := recover(); v != nil {
				logPanic(log, v)
			}
		}()
		if _, err := p.post("report", text); err != nil {
			log.Errorf("%s%v", prefix, err)
		}
		if debug {
			log.Debugf("%sPolicy report action finished", prefix)
		}
	})
}

// ask has the server decide. Errors are logged, and decide as auth_policy_reject_on_fail
// says.
func (p *policy) ask(r *request, text []byte) (v verdict) {
	if p.set.RejectOnFail {
		v.status = -1
	}
	answer, err := p.post("allow", text)
	if err == nil && len(answer) == 0 {
		err = errors.New("Policy server result was empty")
	}
	if err != nil {
		r.Log.Errorf("%s%v", r.Prefix("policy"), err)
		return v
	}
	given, err := parseVerdict(answer, v)
	if err != nil {
		r.Log.Errorf("%s%v", r.Prefix("policy"), err)
	} else {
		v = given
	}
	if v.status < 0 {
		p.refuse(r, v)
	}
	return v
}

// refuse notes that the server refuses the login, for the client and for the report.
func (p *policy) refuse(r *request, v verdict) {
	text := ""
	if v.reason != "" {
		r.Fields.Set(db.Field{Name: "reason", Value: v.reason})
		text = ": " + v.reason
	}
	r.policyRefusal = true
	if p.verbose {
		r.Log.Infof("%sAuthentication failure due to policy server refusal%s", r.Prefix("policy"), text)
	}
}

// logVerdict tells what follows from the server's answer.
func (p *policy) logVerdict(r *request, v verdict) {
	action := "continue"
	switch {
	case v.status < 0:
		action = "drop connection"
	case v.status > 0:
		action = fmt.Sprintf("tarpit %d second(s)", v.status)
	}
	prefix := r.Prefix("policy")
	switch {
	case v.status == 0:
		if r.Debug {
			r.Log.Debugf("%sPolicy check action is %s", prefix, action)
		}
	case !p.verbose:
	case p.set.LogOnly:
		r.Log.Infof("%sPolicy check action '%s' ignored", prefix, action)
	default:
		r.Log.Infof("%sPolicy check action is %s", prefix, action)
	}
}

// parseVerdict reads an answer. What it does not say stays as v has it.
func parseVerdict(text []byte, v verdict) (verdict, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return v, fmt.Errorf("Policy server response JSON parse error: %w", err)
	}
	if raw, ok := members["status"]; ok {
		n, err := strconv.ParseInt(string(raw), 10, 32)
		if err != nil {
			return v, errors.New("Policy server response was malformed")
		}
		v.status = int(n)
	}
	if raw, ok := members["msg"]; ok {
		if raw[0] != '"' || json.Unmarshal(raw, &v.reason) != nil {
			return v, errors.New("Policy server response was malformed")
		}
	}
	return v, nil
}

// post sends a request and returns the body of the answer.
func (p *policy) post(command string, text []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.target(command), bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header = maps.Clone(p.header)
	if u := p.url.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("Policy server HTTP error: %s", httpFailure(err))
	}
	defer res.Body.Close()
	if res.StatusCode/10 != 20 {
		return nil, fmt.Errorf("Policy server HTTP error: %s", res.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxPolicyAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("Error reading policy server result: %w", err)
	case len(answer) > maxPolicyAnswer:
		return nil, fmt.Errorf("Policy server result is longer than %d bytes", maxPolicyAnswer)
	}
	return answer, nil
}

// target is the URL for a command: "?" is put before it unless the setting ends with "&".
func (p *policy) target(command string) string {
	u := *p.url
	u.User = nil
	text := u.String()
	if !strings.HasSuffix(text, "&") {
		text += "?"
	}
	return text + "command=" + command
}

// httpFailure is why there is no answer, with the numbers that Dovecot's HTTP client has
// for that.
func httpFailure(err error) string {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		if urlErr.Timeout() {
			return "9008 Absolute request timeout expired"
		}
		err = urlErr.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Addr != nil {
		text := op.Err.Error()
		if errno := syscall.Errno(0); errors.As(op, &errno) {
			text = errno.Error()
			text = strings.ToUpper(text[:1]) + text[1:]
		}
		return fmt.Sprintf("9003 connect(%s) failed: %s", op.Addr, text)
	}
	return "9004 " + err.Error()
}

// hashedPassword is the digest of nonce, user and password, cut to its first bits.
func (p *policy) hashedPassword(user, password string) (string, error) {
	text := p.set.HashNonce + user + "\x00" + password
	digest, err := dovecot.ExpandVars("%{"+p.set.HashMech+":text}", &dovecot.Vars{Table: []dovecot.Var{{Name: "text", Value: text}}})
	if err != nil {
		return "", err
	}
	return truncateHex(digest, int(p.set.HashTruncate)), nil
}

package doveadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/service"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

var _ = dovecot.RegisterPlugin("quota", "quota_status_success", "quota_status_nouser", "quota_status_overquota", "quota_status_toolarge")

// quotaStatusService is the protocol whose settings the service has, not its users.
const quotaStatusService = "quota-status"

// maxPolicyLine bounds a line of a request.
const maxPolicyLine = 8 << 10

// quotaStatusSettings are those that are not the plugin's.
type quotaStatusSettings struct {
	Plugin             map[string]string `set:"plugin" doc:"settings of plugins"`
	RecipientDelimiter string            `set:"recipient_delimiter" default:"+" doc:"characters that separate user and detail in an address"`
}

var _ = dovecot.Register("quota-status", quotaStatusSettings{})

// A quotaStatus answers the policy requests (Postfix's SMTPD_POLICY_README) of one client: whether there
// is room for a message.
type quotaStatus struct {
	cfg       *dovecot.Config
	log       *maillog.Logger
	delimiter string
	nouser    string
	warned    bool // about a request in a wrong state
}

// ServeQuotaStatus is a process of a service with the executable quota-status. It serves one client, as it
// becomes one user after the other.
func ServeQuotaStatus(p *master.Process) error {
	c, f, err := service.AcceptClient(p)
	if c == nil {
		return err
	}
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := new(dovecot.Config)
	if err := cfg.UnmarshalBinary(p.Config); err != nil {
		return err
	}
	filter := dovecot.Filter{Service: quotaStatusService}
	set, err := dovecot.Get[quotaStatusSettings](cfg, filter)
	if err != nil {
		return err
	}
	q := &quotaStatus{cfg: cfg, log: p.Log, delimiter: set.RecipientDelimiter, nouser: "REJECT Unknown user"}
	if text, ok := set.Plugin["quota_status_nouser"]; ok {
		q.nouser = text
	}
	syscall.Umask(0o077)
	return q.serve(conn)
}

// A policyRequest is what counts of a request.
type policyRequest struct {
	state, recipient string
	size             int64
}

// readPolicy reads a request: lines NAME=VALUE up to an empty one. The first value of a name counts, and
// the last size.
func readPolicy(r *bufio.Reader) (req policyRequest, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return req, err
		}
		name, value, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), "=")
		switch name {
		case "":
			return req, nil
		case "recipient":
			if req.recipient == "" {
				req.recipient = value
			}
		case "protocol_state":
			if req.state == "" {
				req.state = value
			}
		case "size":
			if req.size, err = strconv.ParseInt(value, 10, 64); err != nil || req.size < 0 {
				req.size = 0
			}
		}
	}
}

func (q *quotaStatus) serve(conn io.ReadWriter) error {
	r := bufio.NewReaderSize(conn, maxPolicyLine)
	for {
		req, err := readPolicy(r)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		if _, err := io.WriteString(conn, "action="+q.answer(&req)+"\n\n"); err != nil {
			return err
		}
	}
}

// dunno leaves the decision to others.
const dunno = "DUNNO"

// answer returns the action for a request.
func (q *quotaStatus) answer(req *policyRequest) string {
	if req.state != "" && !strings.EqualFold(req.state, "RCPT") {
		if !q.warned {
			q.log.Warningf("Received policy query from MTA in unexpected state %s (service can only be used for recipient restrictions)", req.state)
			q.warned = true
		}
		return dunno
	}
	if req.recipient == "" {
		return dunno
	}
	local, domain := smtp.SplitAddress(strings.Trim(req.recipient, "<>"))
	if i := strings.IndexAny(local, q.delimiter); i >= 0 && q.delimiter != "" {
		local = local[:i]
	}
	name := local
	if domain != "" {
		name += "@" + domain
	}
	action, found, err := q.check(name, req.size)
	switch {
	case err != nil:
		q.log.Errorf("Failed to lookup user %s: %v", name, err)
		return "DEFER_IF_PERMIT Temporary internal error"
	case !found:
		return q.nouser
	}
	return action
}

// check returns the action for a user.
func (q *quotaStatus) check(name string, size int64) (action string, found bool, err error) {
	run := &session{cfg: q.cfg, client: &remoteClient{user: name}, stdout: newOutput(io.Discard), stderr: io.Discard, log: &messages{}}
	run.log.to = func(level maillog.Level, _, text string) { q.log.With(name).Print(level, text) }
	in := &invocation{session: run, cmd: &command{}}
	r := &mailRun{in: in, lookup: true, killed: make(chan os.Signal, 1)}
	if r.users, err = newUserdb(in.session); err != nil {
		return "", false, err
	}
	defer r.users.close()
	// As in the original the userdb sees the service, but users have settings of no protocol.
	r.users.lookup.Service, r.users.service = quotaStatusService, ""
	r.work = func(ctx context.Context, u *mailUser) error {
		action, err = quotaAction(ctx, u.User, size)
		return err
	}
	found, _, failed := r.next(name)
	if failed == nil {
		failed = err
	}
	if failed == nil && found && action == "" {
		failed = errors.New("the mail of the user could not be opened")
	}
	return action, found, failed
}

// quotaAction is the action for an open user.
func quotaAction(ctx context.Context, u *store.User, size int64) (string, error) {
	err := u.CheckQuota(ctx, max(size, 1))
	keys, usual := []string{"quota_status_success"}, "OK"
	var known *store.Error
	switch {
	case err == nil:
	case !errors.As(err, &known) || known.Code != store.CodeOverQuota && known.Code != store.CodeLimit:
		return "", err
	default:
		keys, usual = []string{"quota_status_overquota"}, "554 5.2.2 "+known.Text
		if known.Code == store.CodeLimit {
			keys = []string{"quota_status_toolarge", "quota_status_overquota"}
		}
	}
	for _, key := range keys {
		text, err := u.PluginSetting(key)
		if err != nil {
			return "", err
		}
		if text != "" {
			return text, nil
		}
	}
	return usual, nil
}

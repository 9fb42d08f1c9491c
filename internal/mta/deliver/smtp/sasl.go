package smtp

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/sasl"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// A saslClient is what is needed to log in to servers.
type saslClient struct {
	passwords resolve.Maps
	filter    resolve.List // nil lets all pass
	bySender  bool
	refused   *refusals // nil: refused logins are tried again
	// Properties that mechanisms must not have: in plain text, inside TLS, and
	// inside TLS with a verified server.
	forbidden [3]sasl.Flags
}

// preferred are the mechanisms, best first.
var preferred = []string{"CRAM-MD5", "PLAIN", "LOGIN"}

func newSASLClient(c *Config, set *Settings) (*saslClient, error) {
	prefix := c.Protocol.prefix()
	if set.SASLPasswords == "" {
		return nil, fmt.Errorf("specify a password table via the `%ssasl_password_maps' configuration parameter", prefix)
	}
	s := &saslClient{bySender: set.SASLBySender}
	var err error
	if s.passwords, err = c.Tables.OpenMaps(prefix+"sasl_password_maps", set.SASLPasswords); err != nil {
		return nil, err
	}
	if set.SASLMechFilter != "" {
		param := prefix + "sasl_mechanism_filter"
		if s.filter, err = c.Tables.OpenList(param, set.SASLMechFilter, resolve.StringList); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", param, err)
		}
	}
	if set.SASLCache != "" {
		if !strings.HasPrefix(set.SASLCache, "proxy:") {
			return nil, fmt.Errorf("SASL authentication cache name %q must start with \"proxy:\"", set.SASLCache)
		}
		s.refused = new(refusals)
	}
	for i, options := range []string{set.SASLOptions, set.SASLTLSOptions, set.SASLVerifiedOptions} {
		if s.forbidden[i], err = parseSecurityOptions(options); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// parseSecurityOptions reads smtp_sasl_security_options: what mechanisms must not
// be, and what they must provide, which none of those here does.
func parseSecurityOptions(list string) (forbidden sasl.Flags, err error) {
	const all = sasl.Plaintext | sasl.Anonymous | sasl.Dictionary | sasl.Active
	names := map[string]sasl.Flags{
		"noplaintext": sasl.Plaintext, "noanonymous": sasl.Anonymous, "nodictionary": sasl.Dictionary, "noactive": sasl.Active,
		"mutual_auth": all, "forward_secrecy": all,
	}
	for _, word := range postfix.SplitList(list) {
		flag, ok := names[strings.ToLower(word)]
		if !ok {
			return 0, fmt.Errorf("unknown SASL security option value %q in %q", word, list)
		}
		forbidden |= flag
	}
	return forbidden, nil
}

// logIn logs in, if there is a password for the server and it offers AUTH.
func (t *attempt) logIn(ctx context.Context, s *session) *deliver.Status {
	if s.ext&extAuth == 0 {
		return nil
	}
	credentials, found, err := s.credentials(ctx, t.req.Message.Sender)
	if err != nil {
		s.agent.log.Warningf("%s: %ssasl_password_maps lookup error", s.message, s.agent.protocol.prefix())
		failed := s.localError()
		failed.Dead = true // so it is for other messages
		return failed
	}
	if !found {
		return nil
	}
	offered, err := s.usableMechanisms(ctx)
	if err != nil {
		return s.localError()
	}
	if len(offered) == 0 {
		s.agent.log.Warningf("%s offered no supported AUTH mechanisms: '%s'", s.server.relay, strings.Join(strings.Fields(s.auth), " "))
		return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 0}, "SASL authentication failed: server "+s.server.name+
			" offered no compatible authentication mechanisms for this type of connection security")
	}
	mechanism := s.choose(offered)
	if mechanism == nil {
		s.agent.log.Warningf("SASL authentication failure: No worthy mechs found")
		return s.cannotLogIn("no mechanism available")
	}
	if failed := s.knownRefusal(credentials); failed != nil {
		return failed
	}
	return s.exchange(mechanism.Name, mechanism.NewClient(credentials), credentials)
}

// credentials looks the password up: by sender where that is wanted, by host, by next hop.
func (s *session) credentials(ctx context.Context, sender string) (c sasl.Credentials, found bool, err error) {
	client := s.agent.sasl
	host, _, _ := splitDestination(strings.TrimPrefix(s.nexthop, "inet:"))
	keys := []string{s.server.host, s.nexthop}
	if s.server.ip.IsValid() && host == s.server.ip.String() {
		keys[0] = host
	}
	if client.bySender && sender != "" {
		user, domain := wire.SplitAddress(sender)
		keys = append([]string{sender, "@" + domain}, keys...)
		if user == sender {
			keys = slices.Delete(keys, 1, 2)
		}
	}
	for _, key := range keys {
		value, found, err := client.passwords.Lookup(ctx, key)
		if err != nil {
			return c, false, err
		}
		if found {
			c.Username, c.Password, _ = strings.Cut(value, s.agent.set.SASLDelimiter[:1])
			c.Hostname, c.Service = s.server.host, "smtp"
			return c, c.Username != "", nil
		}
	}
	return c, false, nil
}

// usableMechanisms are those offered that the filter lets pass.
func (s *session) usableMechanisms(ctx context.Context) ([]string, error) {
	var list []string
	for _, name := range strings.Fields(s.auth) {
		if s.agent.sasl.filter != nil {
			ok, err := s.agent.sasl.filter.Match(ctx, name)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		list = append(list, strings.ToUpper(name))
	}
	return list, nil
}

// choose picks the best mechanism that the security of the connection allows.
func (s *session) choose(offered []string) *sasl.Mechanism {
	forbidden := s.agent.sasl.forbidden[0]
	switch {
	case s.tls.verified:
		forbidden = s.agent.sasl.forbidden[2]
	case s.tls.conn != nil:
		forbidden = s.agent.sasl.forbidden[1]
	}
	for _, name := range preferred {
		if !slices.Contains(offered, name) {
			continue
		}
		if m, ok := sasl.Lookup(name); ok && m.NewClient != nil && m.Flags&forbidden == 0 {
			return m
		}
	}
	return nil
}

// maxChallenges bounds an exchange, maxCommand the length of a command (RFC 5321 4.5.3.1.4).
const (
	maxChallenges = 10
	maxCommand    = 512
)

// exchange is the dialogue of AUTH (RFC 4954 4).
func (s *session) exchange(name string, client sasl.Client, credentials sasl.Credentials) *deliver.Status {
	initial, err := client.Start()
	if err != nil {
		return s.cannotLogIn("generic failure")
	}
	command := "AUTH " + name
	held := "" // initial response for which the command has no room
	switch encoded := base64.StdEncoding.EncodeToString(initial); {
	case initial == nil:
	case len(initial) == 0:
		command += " ="
	case len(command)+len(encoded)+3 > maxCommand:
		held = encoded
	default:
		command += " " + encoded
	}
	defer func() { s.history.secret = false }()
	for range maxChallenges {
		reply, err := s.ask(command, s.agent.set.HeloTimeout)
		switch {
		case err != nil:
			return s.lost(err, "performing the "+s.helloVerb()+" handshake") // as Postfix calls it
		case reply.code/100 == 2:
			s.loggedIn = true
			return nil
		case reply.code/100 != 3:
			if reply.code == 535 {
				s.agent.sasl.refused.store(s.server.host, credentials, &reply, s.agent.set.SASLCacheTime)
			}
			return s.loginRefused(&reply)
		}
		s.history.secret = true
		if held != "" {
			if len(reply.text) > len("334 ") {
				return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 0}, "SASL authentication failed; non-empty initial "+name+" challenge from server "+s.server.name)
			}
			command, held = held, ""
			continue
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(reply.text[min(len(reply.text), 4):])))
		if err != nil {
			return s.cannotLogIn("another step is needed in authentication")
		}
		response, err := client.Next(challenge)
		if err != nil {
			return s.cannotLogIn("generic failure")
		}
		command = base64.StdEncoding.EncodeToString(response)
	}
	return s.cannotLogIn("generic failure")
}

// loginRefused is the status after the server said no. That is a mistake in the
// configuration here rather than in the mail.
func (s *session) loginRefused(r *reply) *deliver.Status {
	if s.agent.set.SASLSoftBounce && r.dsn[0] == 5 {
		r.dsn[0] = 4
	}
	return s.rejected(r, "SASL authentication failed; server "+s.server.name+" said: "+r.String())
}

func (s *session) cannotLogIn(why string) *deliver.Status {
	return s.fail(deliver.Deferred, wire.Enhanced{4, 7, 0}, "SASL authentication failed; cannot authenticate to server "+s.server.name+": "+why)
}

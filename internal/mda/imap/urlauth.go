package imap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// URLAUTH (RFC 4467): URLs of messages that others may fetch. What authorizes them is a token, made with a
// key of the mailbox that is a private attribute of it.

const (
	urlauthMechanism = "INTERNAL"
	urlauthKey       = "vendor/vendor.dovecot/imap-urlauth"
	urlauthKeyLen    = 64
	urlauthVersion   = 1 // of tokens: their first byte
	urlauthMinToken  = 32
)

// An authURL is an IMAP URL with URLAUTH. A rump has no mechanism and no token yet.
type authURL struct {
	messageURL
	user, host string
	port       int // 0 for the default
	rump       string
	expires    time.Time // zero for never
	access     string    // user, submit, authuser, anonymous
	accessUser string
	mechanism  string
	token      []byte
}

// parseAuthURL reads a URL that others may be allowed to fetch, or its rump.
func parseAuthURL(text string) (*authURL, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, urlError("URL has characters that are not allowed")
	}
	u := &authURL{}
	rest, ok := cutPrefixFold(text, "imap://")
	if !ok {
		return nil, urlError("Relative IMAP URL not allowed here")
	}
	server, path, _ := strings.Cut(rest, "/")
	if err := u.parseServer(server); err != nil {
		return nil, err
	}
	at := indexFold(path, ";URLAUTH=")
	if at < 0 {
		return u, u.parsePath(path)
	}
	auth := path[at+len(";URLAUTH="):]
	path = path[:at]
	if at := indexFold(path, ";EXPIRE="); at >= 0 {
		var err error
		if u.expires, err = time.Parse(time.RFC3339, strings.ToUpper(path[at+len(";EXPIRE="):])); err != nil {
			return nil, urlError("invalid date-time for `;EXPIRE='")
		}
		path = path[:at]
	}
	if err := u.parsePath(path); err != nil {
		return nil, err
	}
	access, verifier, full := strings.Cut(auth, ":")
	u.rump = text[:len(text)-len(auth)+len(access)]
	if err := u.parseAccess(access); err != nil || !full {
		return u, err
	}
	return u, u.parseVerifier(verifier)
}

// indexFold is strings.Index for a needle of ASCII in any case.
func indexFold(text, needle string) int { return strings.Index(strings.ToUpper(text), needle) }

// parseServer reads [enc-user [";AUTH=" enc-auth-type] "@"] host [":" port] (RFC 5092 11).
func (u *authURL) parseServer(server string) error {
	if at := strings.LastIndexByte(server, '@'); at >= 0 {
		user, _, _ := strings.Cut(server[:at], ";")
		var err error
		if u.user, err = url.PathUnescape(user); err != nil {
			return urlError("Invalid URL encoding in user name")
		}
		server = server[at+1:]
	}
	u.host = server
	if at := strings.LastIndexByte(server, ':'); at >= 0 && !strings.HasSuffix(server, "]") {
		port, err := strconv.ParseUint(server[at+1:], 10, 16)
		if err != nil || port == 0 {
			return urlError("Invalid server port")
		}
		u.host, u.port = server[:at], int(port)
	}
	if u.host == "" {
		return urlError("Missing host name")
	}
	return nil
}

// parsePath reads what names the message.
func (u *authURL) parsePath(path string) error {
	segments := strings.Split(path, "/")
	for _, parse := range []func([]string) ([]string, error){u.parseMailbox, u.parseUID, u.parseSection, u.parsePartial} {
		var err error
		if segments, err = parse(segments); err != nil {
			return err
		}
	}
	if len(segments) > 0 {
		return urlError("Unexpected IMAP URL path segment: `" + segments[0] + "'")
	}
	return nil
}

// parseAccess reads who may use the URL.
func (u *authURL) parseAccess(access string) (err error) {
	name, user, named := strings.Cut(access, "+")
	switch {
	case access == "":
		return urlError("Missing URLAUTH access specifier")
	case name == "":
		return urlError("Empty URLAUTH access application")
	case named && user == "":
		return urlError("Empty URLAUTH access user for `" + name + "' application")
	}
	u.access = name
	if u.accessUser, err = url.PathUnescape(user); err != nil {
		return urlError("Invalid URL encoding in URLAUTH access user")
	}
	return nil
}

// parseVerifier reads mechanism ":" token.
func (u *authURL) parseVerifier(verifier string) (err error) {
	mechanism, token, _ := strings.Cut(verifier, ":")
	switch {
	case verifier == "":
		return urlError("Missing URLAUTH verifier")
	case token == "":
		return urlError("Missing URLAUTH token")
	case mechanism == "":
		return urlError("Missing URLAUTH mechanism")
	case len(token) < urlauthMinToken:
		return urlError("Too short URLAUTH token")
	}
	u.mechanism = mechanism
	if u.token, err = hex.DecodeString(token); err != nil {
		return urlError("Invalid URLAUTH token")
	}
	return nil
}

// sameServer checks that the URL is of this server.
func (s *session) sameServer(u *authURL) error {
	if s.set.URLAuthHost != "*" && u.host != s.set.URLAuthHost {
		return urlError("Invalid URL: Inappropriate host name")
	}
	if port := cmpPort(u.port); port != int(s.set.URLAuthPort) {
		return urlError("Invalid URL: Inappropriate server port")
	}
	return nil
}

func cmpPort(port int) int {
	if port == 0 {
		return 143
	}
	return port
}

// mayGenerate checks a rump that the client wants a token for.
func (s *session) mayGenerate(u *authURL) error {
	switch {
	case u.mailbox == "" || u.uid == 0 || u.rump == "" || u.mechanism != "":
		return urlError("Invalid URL: Must be an URLAUTH rump URL")
	case u.expired():
		return urlError("URLAUTH has already expired")
	case u.user == "":
		return urlError("Invalid URL: Missing user name")
	case s.anonymous() || u.user != s.user.Info().Username:
		return urlError("Not permitted to generate URLAUTH for user " + u.user)
	}
	return s.sameServer(u)
}

// mayFetch checks everything about a URL but its token.
func (s *session) mayFetch(u *authURL) error {
	switch {
	case u.mailbox == "" || u.uid == 0 || u.rump == "" || u.mechanism == "":
		return urlError("Invalid URL: Must be a full URLAUTH URL")
	case u.user == "":
		return urlError("Invalid URLAUTH: Missing user name")
	case !strings.EqualFold(u.mechanism, urlauthMechanism):
		return urlError("Unsupported URLAUTH mechanism: " + u.mechanism)
	case u.expired():
		return urlError("URLAUTH has expired")
	}
	if err := s.hasAccess(u); err != nil {
		return err
	}
	if err := s.sameServer(u); err != nil {
		return err
	}
	if u.user != s.user.Info().Username {
		return urlError("Not permitted to fetch URLAUTH for user " + u.user)
	}
	return nil
}

// hasAccess checks that the URL is meant for the user of the session (RFC 4467 2). submit+ is for
// submission servers, which Dovecot knows by imap_urlauth_submit_user.
func (s *session) hasAccess(u *authURL) error {
	me := s.user.Info().Username
	switch strings.ToLower(u.access) {
	case "user":
		if u.accessUser == "" {
			return urlError("URLAUTH `user' access is missing userid")
		}
		if !s.anonymous() && strings.EqualFold(u.accessUser, me) {
			return nil
		}
	case "authuser":
		if !s.anonymous() {
			return nil
		}
	case "anonymous":
		return nil
	}
	access := u.access
	if u.accessUser != "" {
		access += "+" + u.accessUser
	}
	if s.anonymous() {
		return urlError("No '" + access + "' access allowed for anonymous user")
	}
	return urlError("No '" + access + "' access allowed for user " + me)
}

// anonymous reports whether nobody in particular has logged in.
func (s *session) anonymous() bool {
	_, ok := s.user.Info().Fields["anonymous"]
	return ok
}

func (u *authURL) expired() bool { return !u.expires.IsZero() && time.Now().After(u.expires) }

// urlauthToken returns the token of a rump.
func urlauthToken(rump string, key []byte) []byte {
	mac := hmac.New(sha1.New, key)
	mac.Write([]byte(rump))
	return mac.Sum([]byte{urlauthVersion})
}

// verify checks the token. Where there is no mailbox or no key the same is done with some other one, so
// that time does not tell (RFC 4467 5).
func (s *session) verify(u *authURL) error {
	key, err := s.mailboxKey(u.mailbox)
	if key == nil {
		key = make([]byte, urlauthKeyLen)
		rand.Read(key)
	}
	ok := hmac.Equal(urlauthToken(u.rump, key), u.token)
	var missing *store.Error
	switch {
	case errors.As(err, &missing) && missing.Code != store.CodeServerBug:
		return urlError("Invalid URLAUTH: " + missing.Text)
	case err == nil && !ok:
		return urlError("URLAUTH verification failed")
	}
	return err
}

// mailboxKey returns the key of a mailbox, or nil.
func (s *session) mailboxKey(mailbox string) ([]byte, error) {
	value, ok, err := s.user.Metadata(s.ctx, store.Attribute{Mailbox: mailbox, Key: urlauthKey})
	if err != nil || !ok {
		return nil, err
	}
	key, err := hex.DecodeString(value)
	if err == nil && len(key) != urlauthKeyLen {
		err = fmt.Errorf("%d bytes", len(key))
	}
	if err != nil {
		return nil, fmt.Errorf("imap-urlauth: key found for mailbox %s is invalid: %w", mailbox, err)
	}
	return key, nil
}

// makeMailboxKey returns the key of a mailbox, which it makes if there is none.
func (s *session) makeMailboxKey(mailbox string) ([]byte, error) {
	key, err := s.mailboxKey(mailbox)
	if key != nil || err != nil {
		return key, err
	}
	key = make([]byte, urlauthKeyLen)
	rand.Read(key)
	a := store.Attribute{Mailbox: mailbox, Key: urlauthKey}
	return key, s.user.SetMetadata(s.ctx, a, hex.EncodeToString(key))
}

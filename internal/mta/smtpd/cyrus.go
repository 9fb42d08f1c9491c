package smtpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// cyrusDirectories are where the file of a Cyrus SASL application is looked for that
// cyrus_sasl_config_path does not have: Debian's, Red Hat's, and the library's own.
var cyrusDirectories = []string{"/etc/postfix/sasl", "/etc/sasl2", "/usr/lib/sasl2", "/usr/lib64/sasl2", "/usr/lib/sasl"}

// CyrusFiles are the names under which the configuration of the Cyrus SASL application
// (smtpd_sasl_path) is looked for, in their order.
func CyrusFiles(configPath, configDirectory, application string) []string {
	dirs := append(filepath.SplitList(configPath), filepath.Join(configDirectory, "sasl"))
	var files []string
	for _, dir := range append(dirs, cyrusDirectories...) {
		file := filepath.Join(dir, application+".conf")
		if filepath.IsAbs(file) && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}

// defaultMux is saslauthd's socket.
const defaultMux = "/run/saslauthd/mux"

// cyrus is what of Cyrus SASL is supported: passwords checked by saslauthd
// (smtpd_sasl_type = cyrus). It stands in for the auth client of Dovecot.
type cyrus struct {
	daemon saslAuthd
	mechs  []client.Mechanism
	realm  string // smtpd_sasl_local_domain
	log    *maillog.Logger
}

// newCyrus reads the application's file. What it asks for and is not there keeps the
// server from starting.
func newCyrus(files []string, read func(string) ([]byte, error), realm string, log *maillog.Logger) (*cyrus, error) {
	file, text, err := readFirst(files, read)
	if err != nil {
		return nil, err
	}
	options, err := parseCyrus(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	method, ok := options["pwcheck_method"]
	if !ok {
		method = "auxprop"
	}
	if method != "saslauthd" {
		return nil, fmt.Errorf("%s: pwcheck_method: %s is not supported: use saslauthd, or smtpd_sasl_type = dovecot", file, method)
	}
	c := &cyrus{daemon: saslAuthd{path: defaultMux}, realm: realm, log: log}
	if path, ok := options["saslauthd_path"]; ok {
		c.daemon.path = path
	}
	wanted, listed := options["mech_list"]
	for _, name := range []string{"PLAIN", "LOGIN"} {
		if !listed || slices.ContainsFunc(strings.Fields(wanted), func(w string) bool { return strings.EqualFold(w, name) }) {
			c.mechs = append(c.mechs, client.Mechanism{Name: name, Flags: sasl.Plaintext})
		}
	}
	for name := range strings.FieldsSeq(wanted) {
		if name = strings.ToUpper(name); name != "PLAIN" && name != "LOGIN" {
			log.Warningf("%s: mech_list: %s is not offered: saslauthd checks passwords, which only PLAIN and LOGIN have", file, name)
		}
	}
	if len(c.mechs) == 0 {
		return nil, fmt.Errorf("%s: mech_list: %s: saslauthd serves PLAIN and LOGIN only", file, wanted)
	}
	return c, nil
}

// readFirst reads the first file that exists.
func readFirst(files []string, read func(string) ([]byte, error)) (string, []byte, error) {
	for _, file := range files {
		text, err := read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return file, text, err
	}
	return "", nil, fmt.Errorf("smtpd_sasl_type = cyrus: no configuration of the SASL application (%s): "+
		"make one with \"pwcheck_method: saslauthd\", or use smtpd_sasl_type = dovecot", strings.Join(files, ", "))
}

// parseCyrus reads "name: value" lines.
func parseCyrus(text []byte) (map[string]string, error) {
	options := make(map[string]string)
	for number, line := range bytes.Split(text, []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("line %d: want \"name: value\"", number+1)
		}
		options[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	return options, nil
}

// A cyrusError is a failure in the words of Cyrus' library.
type cyrusError struct {
	text string // for the client
	user string // as far as known
	temp bool
}

func (e *cyrusError) Error() string { return e.text }

// Texts of Cyrus' library.
const (
	cyrusBadAuth    = "authentication failure"
	cyrusFail       = "generic failure"
	cyrusBadProto   = "bad protocol / cancel"
	cyrusBadBase64  = "another step is needed in authentication" // Postfix has no better word for it
	cyrusNoMech     = "no mechanism available"
	cyrusNoUsername = "All-whitespace username."
)

// Mechanisms implements [authenticator].
func (c *cyrus) Mechanisms() []client.Mechanism { return c.mechs }

// Authenticate implements [authenticator].
func (c *cyrus) Authenticate(ctx context.Context, req *client.Request, challenge client.Challenger) (client.Result, error) {
	var user, authzid, password string
	var err error
	if req.Mechanism == "PLAIN" {
		user, authzid, password, err = c.plain(req, challenge)
	} else {
		user, password, err = c.login(req, challenge)
	}
	if err != nil {
		return client.Result{}, err
	}
	name := c.withRealm(user)
	known := name // to the library, when the password is wrong
	if authzid != "" && authzid != user {
		known = ""
	}
	local, realm := name, c.realm
	if i := strings.LastIndexByte(name, '@'); i >= 0 {
		local, realm = name[:i], name[i+1:]
	}
	switch err := c.daemon.check(ctx, local, password, req.Service, realm); {
	case err == nil && authzid != "" && authzid != user:
		c.warn("Requested identity not authenticated identity")
		return client.Result{}, &cyrusError{text: cyrusBadAuth, user: c.withRealm(authzid)}
	case err == nil:
		return client.Result{User: name}, nil
	case errors.Is(err, errNotAccepted):
		c.passwordFailed(req.Mechanism)
		return client.Result{}, &cyrusError{text: cyrusBadAuth, user: known}
	default:
		c.warn(err.Error())
		c.passwordFailed(req.Mechanism)
		return client.Result{}, &cyrusError{text: cyrusFail, user: known, temp: true}
	}
}

// withRealm is a name as the library completes it.
func (c *cyrus) withRealm(name string) string {
	if c.realm == "" || strings.Contains(name, "@") {
		return name
	}
	return name + "@" + c.realm
}

// passwordFailed logs what the library's PLAIN does.
func (c *cyrus) passwordFailed(mechanism string) {
	if mechanism == "PLAIN" {
		c.warn("Password verification failed")
	}
}

func (c *cyrus) warn(text string) { c.log.Warningf("SASL authentication failure: %s", text) }

// plain reads RFC 4616's message.
func (c *cyrus) plain(req *client.Request, challenge client.Challenger) (user, authzid, password string, err error) {
	message := req.Initial
	if !req.HasInitial {
		if message, err = challenge(nil); err != nil {
			return "", "", "", err
		}
	}
	other, rest, ok := bytes.Cut(message, []byte{0})
	if !ok {
		return "", "", "", c.broken("Can only find author (no password)")
	}
	authcid, secret, ok := bytes.Cut(rest, []byte{0})
	switch {
	case !ok:
		return "", "", "", c.broken("Can only find author/en (no password)")
	case bytes.IndexByte(secret, 0) >= 0:
		return "", "", "", c.broken("Got more data than we were expecting in the PLAIN plugin")
	}
	user, err = c.username(authcid)
	return user, string(other), string(secret), err
}

func (c *cyrus) broken(why string) error {
	c.warn(why)
	return &cyrusError{text: cyrusBadProto}
}

// login asks for name and password.
func (c *cyrus) login(req *client.Request, challenge client.Challenger) (user, password string, err error) {
	name := req.Initial
	if !req.HasInitial {
		if name, err = challenge([]byte("Username:")); err != nil {
			return "", "", err
		}
	}
	secret, err := challenge([]byte("Password:"))
	if err != nil {
		return "", "", err
	}
	user, err = c.username(name)
	return user, string(secret), err
}

// username checks a name as the library does, which drops white space around it.
func (c *cyrus) username(name []byte) (string, error) {
	if len(name) == 0 {
		c.warn(cyrusNoUsername)
		return "", &cyrusError{text: cyrusFail, temp: true}
	}
	return string(bytes.TrimSpace(name)), nil
}

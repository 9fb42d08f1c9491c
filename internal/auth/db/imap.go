package db

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// imapDB is imap: passwords are right that another IMAP server takes.
type imapDB struct {
	host, user string // templates
	port       uint64
	security   imapSecurity
	caDir      string
	caFile     string
	noVerify   bool
	rawlogDir  string
}

// An imapSecurity is how the connection to the server is secured.
type imapSecurity uint8

const (
	imapPlain    imapSecurity = iota
	imapTLS                   // from the beginning
	imapSTARTTLS              // by a command
)

func openIMAP(env *Env, args string) (Passdb, error) {
	d := &imapDB{user: "%u"}
	for word := range strings.SplitSeq(args, " ") {
		name, value, _ := strings.Cut(word, "=")
		if err := d.set(name, value); err != nil {
			return nil, fmt.Errorf("passdb imap: %w", err)
		}
	}
	if d.port == 0 {
		d.port = 143
		if d.security == imapTLS {
			d.port = 993
		}
	}
	switch {
	case d.security != imapPlain && !d.noVerify && d.caDir == "" && d.caFile == "":
		return nil, errors.New("passdb imap: Cannot verify certificate without ssl_ca_dir or ssl_ca_file setting")
	case d.host == "":
		return nil, errors.New("passdb imap: Missing host parameter")
	}
	if d.caDir == "" {
		d.caDir = env.Settings.SSLClientCADir
	}
	if d.caFile == "" {
		d.caFile = env.Settings.SSLClientCAFile
	}
	return d, nil
}

// set takes one of the args.
func (d *imapDB) set(name, value string) (err error) {
	switch name {
	case "host":
		d.host = value
	case "port":
		if d.port, err = strconv.ParseUint(value, 10, 16); err != nil || d.port == 0 {
			return fmt.Errorf("Invalid port: %s", value)
		}
	case "username":
		d.user = value
	case "ssl_ca_dir":
		d.caDir = value
	case "ssl_ca_file":
		d.caFile = value
	case "rawlog_dir":
		d.rawlogDir = value
	case "ssl":
		switch value {
		case "imaps":
			d.security = imapTLS
		case "starttls":
			d.security = imapSTARTTLS
		default:
			return fmt.Errorf("Invalid ssl mode: %s", value)
		}
	case "allow_invalid_cert":
		if d.noVerify = value == "yes"; !d.noVerify && value != "no" {
			return fmt.Errorf("Invalid allow_invalid_cert value: %s", value)
		}
	default:
		return fmt.Errorf("Unknown parameter: %s", name)
	}
	return nil
}

// Blocking implements [Passdb].
func (d *imapDB) Blocking() bool { return true }

// Verify implements [Verifier].
func (d *imapDB) Verify(ctx context.Context, r *Request, password string) error {
	user, err := r.Expand(d.user)
	if err != nil {
		return fmt.Errorf("Failed to expand username=%s: %w", d.user, err)
	}
	host, err := r.Expand(d.host)
	if err != nil {
		return fmt.Errorf("Failed to expand host=%s: %w", d.host, err)
	}
	if strings.ContainsAny(user+password, "\x00\r\n") {
		return ErrMismatch // no IMAP server has such a name or password
	}
	if host == "" {
		return errors.New("host is empty")
	}
	c, err := d.connect(ctx, host)
	if err != nil {
		return err
	}
	defer c.close()
	reply, err := c.login(user, password)
	if err != nil {
		return err
	}
	switch reply.status {
	case "OK":
		return nil
	case "NO":
		r.Infof("%s", reply.text)
		return refusedByIMAP(reply.code())
	}
	return errors.New(reply.text)
}

// refusedByIMAP says what a NO means. Response codes are of RFC 5530.
func refusedByIMAP(code string) error {
	switch strings.ToUpper(code) {
	case "", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED":
		return Told(ErrMismatch)
	case "EXPIRED":
		return ErrExpired
	}
	return Told(errors.New("the IMAP server cannot say"))
}

// tlsConfig is made for each connection: files of authorities are few and small, and
// change.
func (d *imapDB) tlsConfig(host string) (*tls.Config, error) {
	params := tlsconf.Params{ServerName: host, NoVerify: d.noVerify}
	if !d.noVerify {
		pem, err := authorities(d.caFile, d.caDir)
		if err != nil {
			return nil, err
		}
		params.CAPEM = pem
	}
	return tlsconf.Client(params)
}

// maxAuthorities bounds the files of authorities.
const maxAuthorities = 16 << 20

// authorities reads the certificates of a file and of the files of a directory.
func authorities(file, dir string) ([]byte, error) {
	paths := []string{file}
	if file == "" {
		paths = nil
	}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			paths = append(paths, filepath.Join(dir, entry.Name()))
		}
	}
	var pem []byte
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() {
			if path == file {
				return nil, fmt.Errorf("%s: no file of certificates: %w", path, errors.Join(err, os.ErrInvalid))
			}
			continue
		}
		if int64(len(pem))+st.Size() > maxAuthorities {
			return nil, fmt.Errorf("certificates of authorities have more than %d bytes", maxAuthorities)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		pem = append(append(pem, text...), '\n')
	}
	return pem, nil
}

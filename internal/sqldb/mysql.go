package sqldb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mysqlSocket is where Debian and RHEL have it.
var mysqlSockets = []string{"/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock"}

// openMySQL reads the options of a MySQL or MariaDB server. Errors are Dovecot's.
func openMySQL(host string, options []string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.InterpolateParams = true // one round trip, and the server's own rules of quoting
	c.AllowNativePasswords = true
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	c.Logger = silent{}
	port := "3306"
	var t mysqlTLS
	for _, option := range options {
		key, value, ok := strings.Cut(option, "=")
		if !ok {
			return nil, fmt.Errorf("mysql: Missing value in connect string: %s", option)
		}
		var err error
		switch key {
		case "hostaddr":
			host = value
		case "user":
			c.User = value
		case "password", "pass":
			c.Passwd = value
		case "dbname", "db":
			c.DBName = value
		case "port":
			_, err = strconv.ParseUint(value, 10, 16)
			port = value
		case "client_flags":
			_, err = strconv.ParseUint(value, 10, 32) // what they change does not concern lookups
		case "connect_timeout":
			c.Timeout, err = seconds(value)
		case "read_timeout":
			c.ReadTimeout, err = seconds(value)
		case "write_timeout":
			c.WriteTimeout, err = seconds(value)
		case "ssl_cert":
			t.cert = value
		case "ssl_key":
			t.key = value
		case "ssl_ca":
			t.ca = value
		case "ssl_ca_path":
			t.caPath = value
		case "ssl_cipher":
			t.ciphers = value
		case "ssl_verify_server_cert":
			if t.verify = value == "yes"; !t.verify && value != "no" {
				return nil, fmt.Errorf("mysql: Invalid boolean: %s", value)
			}
		case "option_file", "option_group":
			return nil, fmt.Errorf("mysql: %s is not supported by Dovetail; write its settings into the connect string", key)
		default:
			return nil, fmt.Errorf("mysql: Unknown connect string: %s", key)
		}
		if err != nil {
			return nil, fmt.Errorf("mysql: Invalid value for %s: %s", key, value)
		}
	}
	switch {
	case strings.HasPrefix(host, "/"):
		c.Net, c.Addr = "unix", host
	case host == "" || host == "localhost": // which libmysqlclient takes as the socket
		c.Net, c.Addr = "unix", mysqlSocket()
	default:
		c.Net, c.Addr = "tcp", net.JoinHostPort(strings.Trim(host, "[]"), port)
	}
	var err error
	if c.TLS, err = t.config(host); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("mysql: %w", err)
	}
	return sql.OpenDB(hasty{connector, c.Timeout}), nil
}

// A hasty connector gives a server that takes connections and is silent no longer than
// one that takes none: connect_timeout is for the login, too, as in the client library.
type hasty struct {
	driver.Connector
	timeout time.Duration
}

// Connect implements [driver.Connector].
func (h hasty) Connect(ctx context.Context) (driver.Conn, error) {
	if h.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
		defer cancel()
	}
	return h.Connector.Connect(ctx)
}

func seconds(value string) (time.Duration, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	return time.Duration(n) * time.Second, err
}

func mysqlSocket() string {
	for _, path := range mysqlSockets {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return mysqlSockets[0]
}

// mysqlTLS is the ssl_ options.
type mysqlTLS struct {
	cert, key, ca, caPath, ciphers string
	verify                         bool
}

// config returns nil if none is given. With a CA the server must show a certificate of
// it: the client library only asks for that, and goes on without TLS where the
// server offers none. The name in the certificate is checked where
// ssl_verify_server_cert says so.
func (t *mysqlTLS) config(host string) (*tls.Config, error) {
	if *t == (mysqlTLS{}) {
		return nil, nil
	}
	if t.ciphers != "" && t.ciphers != "HIGH" {
		return nil, fmt.Errorf("mysql: ssl_cipher=%s is not supported by Dovetail, which uses secure ciphers only; remove it", t.ciphers)
	}
	c := &tls.Config{InsecureSkipVerify: true, ServerName: host} //nolint:gosec // what is verified is below
	if t.cert != "" || t.key != "" {
		key := t.key
		if key == "" {
			key = t.cert
		}
		pair, err := tls.LoadX509KeyPair(t.cert, key)
		if err != nil {
			return nil, fmt.Errorf("mysql: ssl_cert, ssl_key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if t.ca == "" && t.caPath == "" {
		if t.verify {
			c.InsecureSkipVerify = false // by the system's CAs
		}
		return c, nil
	}
	roots, err := t.roots()
	if err != nil {
		return nil, err
	}
	verify := x509.VerifyOptions{Roots: roots}
	if t.verify {
		verify.DNSName = host
	}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		verify := verify
		verify.Intermediates = x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			verify.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(verify)
		return err
	}
	return c, nil
}

// roots reads ssl_ca and ssl_ca_path.
func (t *mysqlTLS) roots() (*x509.CertPool, error) {
	paths := []string{t.ca}
	if t.ca == "" {
		var err error
		if paths, err = filepath.Glob(filepath.Join(t.caPath, "*")); err != nil {
			return nil, fmt.Errorf("mysql: ssl_ca_path: %w", err)
		}
	}
	roots := x509.NewCertPool()
	found := false
	for _, path := range paths {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("mysql: ssl_ca: %w", err)
		}
		found = roots.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, errors.New("mysql: ssl_ca, ssl_ca_path: no CA certificates there")
	}
	return roots, nil
}

// isMySQLAnswer tells errors of a statement from those of the connection.
func isMySQLAnswer(err error) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case 1040, 1042, 1043, 1044, 1045, 1049, 1053, 1129, 1130, 1152, 1203, 1698:
		return false // no login there, or too many, or it is going down
	}
	return true
}

// silent drops what the driver would print: errors are returned, too.
type silent struct{}

func (silent) Print(...any) {}

package service

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postconf"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

// A tlsTool is one run of "postfix tls", which makes keys and certificates and has main.cf name them.
type tlsTool struct {
	dir    string // of the configuration
	main   *postfix.Main
	stdout io.Writer
	say    func(level maillog.Level, text string)
	now    time.Time

	// Options of the subcommands.
	algorithm, bits, random, keyFile, hostname string
}

// A tlsCommand is a subcommand of "postfix tls".
type tlsCommand struct {
	name    string
	options string // for getopt
	usage   string
	run     func(t *tlsTool, args []string) error
}

// tlsCommands returns them in the order of the usage text.
func tlsCommands() []tlsCommand {
	const keys = "[-a algorithm] [-b bits ] [hostname ...]"
	return []tlsCommand{
		{"enable-client", "r:", "[-r devrandom]", (*tlsTool).enableClient},
		{"enable-server", "a:b:r:", "[-a algorithm] [-b bits ] [-r devrandom] [hostname ...]", (*tlsTool).enableServer},
		{"new-server-key", "a:b:", keys, func(t *tlsTool, hosts []string) error { return t.newCertificate("", "", hosts) }},
		{"new-server-cert", "a:b:", keys, (*tlsTool).newServerCert},
		{"deploy-server-cert", "", "certfile keyfile", (*tlsTool).deployServerCert},
		{"output-server-csr", "k:", "[-k keyfile] [hostname ...]", (*tlsTool).outputCSR},
		{"output-server-tlsa", "h:", "[-h hostname] [keyfile ...]", (*tlsTool).outputTLSA},
		{"all-default-client", "", "", func(t *tlsTool, args []string) error { return t.allDefault(args, clientTLS) }},
		{"all-default-server", "", "", func(t *tlsTool, args []string) error { return t.allDefault(args, serverTLS) }},
	}
}

// Parameters that say whether TLS was configured before.
var (
	clientTLS = []string{
		"smtp_use_tls", "smtp_enforce_tls", "smtp_tls_enforce_peername", "smtp_tls_security_level", "smtp_tls_cert_file", "smtp_tls_dcert_file", "smtp_tls_eccert_file",
	}
	serverTLS = []string{
		"smtpd_use_tls", "smtpd_enforce_tls", "smtpd_tls_security_level", "smtpd_tls_cert_file", "smtpd_tls_dcert_file", "smtpd_tls_eccert_file",
	}
)

var (
	errTLSUsage = errors.New("usage")
	errSilent   = errors.New("no") // a status without words
)

// tls is "postfix tls".
func (v *invocation) tls() int {
	main, err := postfix.Load(v.dir)
	if err != nil {
		return v.fatal(err.Error())
	}
	t := &tlsTool{dir: v.dir, main: main, stdout: os.Stdout, now: time.Now()}
	t.say = func(level maillog.Level, text string) {
		prefix := map[maillog.Level]string{maillog.Warning: "warning: ", maillog.Error: "error: ", maillog.Fatal: "fatal: "}[level]
		v.log.Print(level, text)
		v.show("postfix/postfix-tls-script: " + prefix + text)
	}
	return t.command(v.args)
}

// command runs a subcommand and returns the exit status.
func (t *tlsTool) command(args []string) int {
	all := tlsCommands()
	var names []string
	for _, c := range all {
		if len(args) > 0 && c.name == args[0] {
			return t.runCommand(&c, args[1:])
		}
		names = append(names, c.name)
	}
	word := ""
	if len(args) > 0 {
		word = args[0]
	}
	t.say(maillog.Error, "unknown tls command: '"+word+"'")
	t.say(maillog.Fatal, "usage: postfix tls "+names[0]+" (or "+strings.Join(names[1:], ", ")+")")
	return 1
}

func (t *tlsTool) runCommand(c *tlsCommand, args []string) int {
	options := &getopt.Command{Name: "postfix tls " + c.name, Exit: 1, Stderr: io.Discard}
	values := map[byte]*string{'a': &t.algorithm, 'b': &t.bits, 'h': &t.hostname, 'k': &t.keyFile, 'r': &t.random}
	rest, ok := options.Options(args, c.options, func(opt byte, value string) { *values[opt] = value })
	err := errTLSUsage
	if ok {
		err = c.run(t, rest)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errTLSUsage):
		t.say(maillog.Fatal, strings.TrimSpace("usage: postfix tls "+c.name+" "+c.usage))
	case !errors.Is(err, errSilent):
		t.say(maillog.Fatal, err.Error())
	}
	return 1
}

// tell logs the lines of a text.
func (t *tlsTool) tell(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		t.say(maillog.Info, strings.TrimRight(line, "\n"))
	}
}

// value is a parameter's value; what cannot be expanded is empty.
func (t *tlsTool) value(name string) string {
	value, _, err := t.main.Expand(name)
	if err != nil {
		return ""
	}
	return value
}

// isDefault tells whether none of the parameters is set in main.cf.
func (t *tlsTool) isDefault(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return t.main.IsSet(name) && t.value(name) != "" })
}

func (t *tlsTool) allDefault(args, names []string) error {
	switch {
	case len(args) > 0:
		return errTLSUsage
	case !t.isDefault(names):
		return errSilent
	}
	return nil
}

// edit sets parameters in main.cf, all at once.
func (t *tlsTool) edit(settings ...string) error {
	if t.random != "" {
		settings = append(settings, "tls_random_source = "+t.random)
	}
	var said strings.Builder
	if (&postconf.Tool{}).Main(append([]string{"-c", t.dir, "-e"}, settings...), nil, io.Discard, &said) != 0 {
		return errors.New(strings.TrimSpace(said.String()))
	}
	return nil
}

func (t *tlsTool) enableClient(args []string) error {
	if len(args) > 0 {
		return errTLSUsage
	}
	if !t.isDefault(clientTLS) {
		t.tell("*** Non-default SMTP client TLS settings detected, no changes made.\n" +
			"Usual settings for opportunistic TLS: smtp_tls_security_level = may, smtp_tls_loglevel = 1\n")
		return nil
	}
	t.completeRandom()
	err := t.edit("smtp_tls_security_level = may", "smtp_tls_loglevel = 1",
		"smtp_tls_session_cache_database = lmdb:"+t.value("data_directory")+"/smtp_scache")
	if err == nil {
		t.tell("Enabled opportunistic TLS in the Postfix SMTP client.\n" + afterwards)
	}
	return err
}

const afterwards = "Run \"postfix reload\" if you want the new settings to take effect immediately.\n"

// completeRandom fills in the source of random numbers that main.cf is to name.
func (t *tlsTool) completeRandom() {
	if t.random == "" {
		t.random = t.value("tls_random_source")
	}
}

func (t *tlsTool) enableServer(hosts []string) error {
	if !t.isDefault(serverTLS) {
		t.tell("*** Non-default SMTP server TLS settings detected, no changes made.\n" +
			"Usual settings for opportunistic TLS: smtpd_tls_security_level = may, smtpd_tls_loglevel = 1\n" +
			"\"postfix tls new-server-cert\" makes a new certificate, \"postfix tls new-server-key\" a new key too.\n")
		return nil
	}
	t.completeRandom()
	return t.newCertificate("", "enable", hosts)
}

func (t *tlsTool) newServerCert(hosts []string) error {
	old := t.configuredKey(t.algorithmOr("rsa"))
	if _, err := os.Stat(old); old != "" && err != nil {
		t.say(maillog.Warning, "Key file: "+old+" not found, creating new keys")
		old = ""
	}
	return t.newCertificate(old, "", hosts)
}

func (t *tlsTool) algorithmOr(usual string) string {
	if t.algorithm == "" {
		return usual
	}
	return t.algorithm
}

// configuredKey is the path of a key: of the one that main.cf names for an algorithm, or a path of the user's,
// which is relative to the configuration directory.
func (t *tlsTool) configuredKey(word string) string {
	path := word
	switch word {
	case "rsa":
		path = t.value("smtpd_tls_key_file")
	case "ecdsa":
		path = t.value("smtpd_tls_eckey_file")
	case "":
	default:
		path = t.absolute(word)
	}
	if path == "none" {
		return ""
	}
	return path
}

func (t *tlsTool) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(t.dir, path)
}

// newCertificate makes a self-signed certificate for hosts, with the key of a file or a new one. With deploy, main.cf is to
// name it.
func (t *tlsTool) newCertificate(oldKey, deploy string, hosts []string) error {
	algorithm := t.algorithmOr("rsa")
	prefix, ok := map[string]string{"rsa": "", "ecdsa": "ec"}[algorithm]
	if !ok {
		return fmt.Errorf("Unsupported private key algorithm: %s", algorithm)
	}
	stamp := t.now.UTC().Format("20060102-150405")
	keyFile := filepath.Join(t.dir, prefix+"key-"+stamp+".pem")
	certFile := filepath.Join(t.dir, prefix+"cert-"+stamp+".pem")
	key, err := t.makeKey(algorithm, oldKey)
	if err != nil {
		return err
	}
	if err := writeNew(keyFile, key.pem, 0o600); err != nil {
		return err
	}
	cert, err := t.selfSigned(key.Signer, t.hosts(hosts))
	if err == nil {
		err = writeNew(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644)
	}
	if err != nil {
		return errors.Join(err, os.Remove(keyFile))
	}
	if deploy == "" {
		t.tell("New private key and self-signed certificate created. To deploy run:\n  # postfix tls deploy-server-cert %s %s\n", certFile, keyFile)
	} else if err := t.deploy(certFile, keyFile, deploy); err != nil {
		return err
	}
	t.tell("To generate a CSR run:\n  # postfix tls output-server-csr -k %[1]s [<hostname> ...]\nTo generate TLSA records run:\n"+
		"  # postfix tls output-server-tlsa [-h <hostname>] %[1]s\n", keyFile)
	return nil
}

// hosts are the names of a certificate; without any this system's.
func (t *tlsTool) hosts(names []string) []string {
	if len(names) > 0 && names[0] != "" {
		return names
	}
	return append([]string{t.value("myhostname")}, names[min(len(names), 1):]...)
}

// A serverKey is a private key and the text of its file.
type serverKey struct {
	crypto.Signer
	algorithm string
	pem       []byte
}

// makeKey makes a new key, or a copy of an old one.
func (t *tlsTool) makeKey(algorithm, old string) (*serverKey, error) {
	if old != "" {
		key, err := readKey(old)
		if err == nil && key.algorithm != algorithm {
			err = fmt.Errorf("Key algorithm '%s' of '%s' is not '%s'", key.algorithm, old, algorithm)
		}
		return key, err
	}
	if algorithm == "rsa" {
		bits := 2048
		if t.bits != "" {
			var err error
			if bits, err = strconv.Atoi(t.bits); err != nil || bits < 1024 || bits > 16384 {
				return nil, fmt.Errorf("error generating new rsa %s private key: give a number of bits from 1024 to 16384", t.bits)
			}
		}
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return nil, err
		}
		return newServerKey(key)
	}
	curves := map[string]elliptic.Curve{
		"": elliptic.P256(), "secp256r1": elliptic.P256(), "prime256v1": elliptic.P256(), "secp384r1": elliptic.P384(), "secp521r1": elliptic.P521(),
	}
	curve := curves[t.bits]
	if curve == nil {
		return nil, fmt.Errorf("error generating new ecdsa %s private key: the curves are secp256r1, secp384r1 and secp521r1", t.bits)
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, err
	}
	return newServerKey(key)
}

func newServerKey(key crypto.Signer) (*serverKey, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	k := &serverKey{Signer: key, algorithm: "rsa", pem: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		k.algorithm = "ecdsa"
	}
	return k, nil
}

// readKey reads the first private key of a file.
func readKey(path string) (*serverKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("no private key found in file: %s: %w", path, err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			continue
		}
		if signer, ok := key.(crypto.Signer); err == nil && ok {
			return newServerKey(signer)
		}
	}
	return nil, fmt.Errorf("no private key found in file: %s", path)
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// spki is the digest of a public key in TLSA records of type 3 1 1.
func spki(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	return fmt.Sprintf("%x", sha256.Sum256(der)), err
}

func (t *tlsTool) deployServerCert(args []string) error {
	if len(args) != 2 {
		return errTLSUsage
	}
	return t.deploy(t.absolute(args[0]), t.absolute(args[1]), "")
}

// deploy has main.cf name a certificate and its key.
func (t *tlsTool) deploy(certFile, keyFile, how string) error {
	key, err := readKey(keyFile)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(certFile)
	if err != nil {
		return fmt.Errorf("error computing certificate public key digest: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("error computing certificate public key digest: %s holds no certificate in PEM form", certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("error computing certificate public key digest: %s: %w", certFile, err)
	}
	own, err := spki(key.Public())
	if theirs, bad := spki(cert.PublicKey); err != nil || bad != nil || own != theirs {
		return fmt.Errorf("Certificate in %s does not match key in %s", certFile, keyFile)
	}
	params := map[string][2]string{"rsa": {"smtpd_tls_key_file", "smtpd_tls_cert_file"}, "ecdsa": {"smtpd_tls_eckey_file", "smtpd_tls_eccert_file"}}[key.algorithm]
	settings := []string{params[0] + " = " + keyFile, params[1] + " = " + certFile}
	if how == "enable" {
		settings = append(settings, "smtpd_tls_security_level = may", "smtpd_tls_received_header = yes", "smtpd_tls_loglevel = 1")
	}
	if err := t.edit(settings...); err != nil {
		return err
	}
	if how == "enable" {
		t.tell("Enabled opportunistic TLS in the Postfix SMTP server\n")
	}
	t.tell("New TLS private key and certificate deployed.\n" + afterwards)
	return nil
}

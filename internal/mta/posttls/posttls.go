// Package posttls is posttls-finger(1): it connects to a mail server as the SMTP or LMTP client does, and tells of its TLS.
//
// Security levels, certificates and protocols come from its options, all else from main.cf. Tables are not asked.
package posttls

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/smtp"
	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

const usage = `usage: posttls-finger [-acCfSvw] [-t conn_tmout] [-T cmd_tmout] [-L logopts] \
	[-h host_lookup] [-l level] [-d mdalg] [-g grade] [-p protocols] \
	[-A tafile] [-F CAfile.pem] [-P CApath/] [-s servername] \
	[ [-H chainfiles] | [-k certfile [-K keyfile]] ] \
	[-m count] [-r delay] [-o name=value] destination [match ...]
`

// A finger is one run of the command.
type finger struct {
	look     smtp.Finger
	protocol smtp.Protocol
	set      map[string]string // parameters without the prefix of the protocol
	override map[string]string // whole parameters
	logs     []string          // what -L asks for
	problem  error
}

// parameters are options whose value is that of a parameter of the client.
var parameters = map[byte]string{
	'a': "address_preference", 'd': "tls_fingerprint_digest", 'F': "tls_CAfile", 'g': "tls_mandatory_ciphers", 'h': "host_lookup",
	'k': "tls_cert_file", 'K': "tls_key_file", 'l': "tls_security_level", 'M': "tls_dane_insecure_mx_policy", 'p': "tls_mandatory_protocols",
	'P': "tls_CApath", 's': "tls_servername",
}

// lists are those that may be given more than once.
var lists = map[byte]string{'A': "tls_trust_anchor_file", 'H': "tls_chain_files"}

// Main is posttls-finger(1).
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	f := &finger{override: map[string]string{}, logs: []string{"routine", "certmatch"}}
	f.set = map[string]string{
		"tls_security_level": "dane", "host_lookup": "dns", "address_preference": "any", "tls_mandatory_protocols": ">=TLSv1", "tls_dane_insecure_mx_policy": "dane",
		"dns_support_level": "dnssec", "sasl_auth_enable": "no", "connect_timeout": "30s", "use_tls": "no", "enforce_tls": "no",
	}
	for _, name := range []string{
		"tls_CAfile", "tls_CApath", "tls_cert_file", "tls_key_file", "tls_eccert_file", "tls_eckey_file", "tls_chain_files", "tls_trust_anchor_file",
		"tls_servername", "tls_policy_maps", "tls_exclude_ciphers", "tls_mandatory_exclude_ciphers", "sasl_password_maps", "reply_filter",
		"dns_reply_filter", "generic_maps", "header_checks", "mime_header_checks", "nested_header_checks", "body_checks", "tls_fingerprint_cert_match",
	} {
		f.set[name] = ""
	}
	f.look.Chat, f.look.Most = true, 5
	f.look.GreetTime, f.look.HelloTime = 30*time.Second, 30*time.Second
	cmd := &getopt.Command{Name: "posttls-finger", Exit: 1, Stderr: stderr}
	rest, ok := cmd.Options(args, "a:A:cCd:fF:g:h:H:k:K:l:L:m:M:o:p:P:r:s:St:T:vwX", func(opt byte, value string) { f.option(opt, value, stdout) })
	if !ok || len(rest) == 0 {
		fmt.Fprint(stderr, usage)
		return 1
	}
	err := f.problem
	if err == nil {
		err = f.run(rest[0], rest[1:], stdout)
	}
	if err != nil {
		fmt.Fprintf(stdout, "posttls-finger: fatal: %v\n", err)
		return 1
	}
	return 0
}

// option takes one option. The first problem is kept.
func (f *finger) option(opt byte, value string, stdout io.Writer) {
	if name := parameters[opt]; name != "" {
		f.set[name] = value
		return
	}
	if name := lists[opt]; name != "" {
		f.set[name] += " " + value
		return
	}
	switch opt {
	case 'c':
		f.look.Chat = false
	case 'C':
		f.look.Chain = stdout
	case 'f':
		f.set["tls_force_insecure_host_tlsa_lookup"] = "yes"
	case 'L':
		f.logs = strings.FieldsFunc(strings.ToLower(value), func(r rune) bool { return strings.ContainsRune(", \t|", r) })
	case 'm':
		f.look.Most = f.number(opt, value)
	case 'o':
		name, text, ok := strings.Cut(value, "=")
		if !ok {
			f.fail(fmt.Errorf("-o parameter must be of the form name=value: %s", value))
			return
		}
		f.override[strings.TrimSpace(name)] = strings.TrimSpace(text)
	case 'r':
		f.look.Reconnect = time.Duration(f.number(opt, value)) * time.Second
	case 'S':
		f.protocol = smtp.LMTP
	case 't':
		f.look.GreetTime = time.Duration(f.number(opt, value)) * time.Second
		f.set["connect_timeout"] = value + "s"
	case 'T':
		f.look.HelloTime = time.Duration(f.number(opt, value)) * time.Second
	case 'w':
		f.set["tls_wrappermode"] = "yes"
	case 'X':
		f.fail(fmt.Errorf("option -X is not supported: there is no tlsproxy"))
	}
}

func (f *finger) number(opt byte, value string) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		f.fail(fmt.Errorf("bad numerical value of option -%c: %s", opt, value))
	}
	return n
}

func (f *finger) fail(err error) {
	if f.problem == nil {
		f.problem = err
	}
}

// levels are the words of -L that have other meanings than what they say.
var levels = map[string][]string{
	"0": nil, "none": nil, "1": {"routine"}, "summary": {"routine"}, "2": {"routine", "verbose"}, "debug": {"routine", "verbose"},
	"3": {"routine", "verbose"}, "ssl-expert": {"routine", "verbose"}, "4": {"routine", "verbose"}, "ssl-developer": {"routine", "verbose"},
	"routine": {"routine"}, "certmatch": {"certmatch"}, "peercert": {"peercert"}, "verbose": {"verbose"}, "untrusted": nil, "cache": nil,
	"ssl-debug": nil, "ssl-handshake-packet-dump": nil, "ssl-session-packet-dump": nil,
}

// logging finds out what is to be logged.
func (f *finger) logging() error {
	var words []string
	for _, word := range f.logs {
		more, ok := levels[word]
		if !ok {
			return fmt.Errorf("unknown TLS logging option: %s", word)
		}
		words = append(words, more...)
	}
	verbose := slices.Contains(words, "verbose")
	f.look.Names = verbose || slices.Contains(words, "certmatch")
	f.look.Peer = verbose || slices.Contains(words, "peercert")
	f.set["tls_loglevel"] = "0"
	if slices.Contains(words, "routine") {
		f.set["tls_loglevel"] = "1"
	}
	return nil
}

// run connects to a destination. The certificate is to match words.
func (f *finger) run(dest string, match []string, stdout io.Writer) error {
	if err := f.logging(); err != nil {
		return err
	}
	if f.set["tls_cert_file"] == "" {
		f.set["tls_cert_file"] = f.set["tls_key_file"]
	}
	if f.set["tls_key_file"] == "" {
		f.set["tls_key_file"] = f.set["tls_cert_file"]
	}
	if len(match) > 0 {
		words := strings.Join(match, " ")
		f.set["tls_verify_cert_match"], f.set["tls_secure_cert_match"], f.set["tls_fingerprint_cert_match"] = words, words, words
	}
	main, err := postfix.Load(getopt.ConfigDirectory())
	if err != nil {
		return err
	}
	prefix := "smtp_"
	if f.protocol == smtp.LMTP {
		prefix = "lmtp_"
	}
	overrides := map[string]string{"tls_append_default_CA": "no", "disable_dns_lookups": "no", prefix + "tls_protocols": f.set["tls_mandatory_protocols"]}
	for name, value := range f.set {
		overrides[prefix+name] = value
	}
	for name, value := range f.override {
		overrides[name] = value
	}
	main = main.With(overrides)
	digest, _, err := main.Expand(prefix + "tls_fingerprint_digest")
	if err != nil {
		return err
	}
	f.look.Digest = digest
	return f.connect(main, dest, stdout)
}

func (f *finger) connect(main *postfix.Main, dest string, stdout io.Writer) error {
	log := maillog.NewFunc(func(level maillog.Level, text string) {
		word := map[maillog.Level]string{maillog.Warning: "warning: ", maillog.Error: "error: "}[level]
		fmt.Fprintf(stdout, "posttls-finger: %s%s\n", word, text)
	})
	names, err := dns.New(dns.Options{})
	if err != nil {
		return err
	}
	tables, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		return err
	}
	c := smtp.Config{Main: main, Protocol: f.protocol, Resolver: names, ReadFile: os.ReadFile, Tables: tables, Log: log}
	return f.look.Run(context.Background(), c, dest)
}

package auth

import (
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A policyAttr is one key=template of auth_policy_request_attributes. A key a/b is the
// member b of the object a.
type policyAttr struct{ key, template string }

// parsePolicyAttrs returns the attributes, sorted as they are sent.
func parsePolicyAttrs(text string) ([]policyAttr, error) {
	words := strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '=' })
	if len(words)%2 != 0 {
		return nil, errors.New("auth_policy_request_attributes contains invalid value")
	}
	attrs := make([]policyAttr, 0, len(words)/2)
	for pair := range slices.Chunk(words, 2) {
		attrs = append(attrs, policyAttr{pair[0], pair[1]})
	}
	slices.SortStableFunc(attrs, func(a, b policyAttr) int { return strings.Compare(a.key, b.key) })
	return attrs, nil
}

// request makes the body of a request. success is nil for a question.
func (p *policy) request(r *request, success *bool) []byte {
	user := r.LoginUser
	if user == "" {
		user = r.User
	}
	hash, err := p.hashedPassword(user, r.Password)
	more := map[string]string{"requested_username": user, "hashed_password": hash}
	expand := func(template string) string {
		text, expandErr := r.ExpandEscaped(template, escapeJSON, more)
		err = errors.Join(err, expandErr)
		return text
	}
	b := appendAttrs([]byte{'{'}, p.attrs, "", expand)
	if err != nil {
		r.Log.Errorf("%sFailed to expand auth policy template: %v", r.Prefix("policy"), err)
	}
	if success != nil {
		b = fmt.Appendf(b, ",\"success\":%t,\"policy_reject\":%t", *success, r.policyRefusal)
	}
	b = fmt.Appendf(b, ",\"tls\":%t}", r.Secured == "TLS")
	if r.Debug {
		r.Log.Debugf("%sPolicy server request JSON: %s", r.Prefix("policy"), b)
	}
	return b
}

// appendAttrs appends the members whose keys begin with prefix.
func appendAttrs(b []byte, attrs []policyAttr, prefix string, expand func(string) string) []byte {
	for i := 0; i < len(attrs); {
		if i > 0 {
			b = append(b, ',')
		}
		name, _, nested := strings.Cut(attrs[i].key[len(prefix):], "/")
		b = append(append(append(b, '"'), escapeJSON(name)...), `":`...)
		if !nested {
			b = append(append(append(b, '"'), expand(attrs[i].template)...), '"')
			i++
			continue
		}
		group := prefix + name + "/"
		end := i
		for end < len(attrs) && strings.HasPrefix(attrs[end].key, group) {
			end++
		}
		b = append(appendAttrs(append(b, '{'), attrs[i:end], group, expand), '}')
		i = end
	}
	return b
}

// escapeJSON is text inside the quotes of JSON.
func escapeJSON(text string) string {
	var b []byte
	for len(text) > 0 {
		c, n := utf8.DecodeRuneInString(text)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c < ' ' || c == '\u2028' || c == '\u2029':
			b = fmt.Appendf(b, `\u%04x`, c)
		default: // a byte that is not UTF-8 is U+FFFD
			b = utf8.AppendRune(b, c)
		}
		text = text[n:]
	}
	return string(b)
}

// truncateHex keeps the first bits of a digest, moved to the right end of as many bytes
// as they take. All are kept if bits is 0.
func truncateHex(digest string, bits int) string {
	sum, err := hex.DecodeString(digest)
	if err != nil || bits <= 0 || bits > len(sum)*8 {
		return digest
	}
	sum = sum[:(bits+7)/8]
	if shift := (8 - bits%8) % 8; shift > 0 {
		for i := len(sum) - 1; i >= 0; i-- {
			sum[i] >>= shift
			if i > 0 {
				sum[i] |= sum[i-1] << (8 - shift)
			}
		}
	}
	return hex.EncodeToString(sum)
}

// policyTLS is the configuration of TLS with the server.
func policyTLS(set *PolicySettings, drivers *db.Settings) (*tls.Config, error) {
	if !strings.HasPrefix(set.URL, "https:") {
		return nil, nil
	}
	params := tlsconf.Params{MinProtocol: set.MinProtocol, NoVerify: !set.RequireValidCert}
	var err error
	if params.CAPEM, err = tlsconf.Authorities(drivers.SSLClientCAFile, drivers.SSLClientCADir); err != nil {
		return nil, err
	}
	if len(params.CAPEM) == 0 && set.RequireValidCert {
		return nil, errors.New("auth_policy_server_url: Can't verify remote server certs without trusted CAs (ssl_client_ca_* settings)")
	}
	return tlsconf.Client(params)
}

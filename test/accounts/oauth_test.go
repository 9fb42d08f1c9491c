package accounts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A tokenServer is an OAuth 2.0 server. A token says what its answer is:
// "KIND-USER", where the kinds are those of answers.
type tokenServer struct {
	mu    sync.Mutex
	asked []string // requests
}

// answers are what the server says about a token, after the status; %s is the user.
var answers = map[string]string{
	"good":      `200 {"email":"%s","active":true,"scope":"openid mail","quota":"5G","list":["a"],"more":{"email":"root"},"nothing":null}`,
	"upper":     `200 {"EMAIL":"x","email":"%s","active":true}`,
	"inactive":  `200 {"active":false}`,
	"silent":    `200 {"email":"%s"}`,
	"nobody":    `200 {"active":true,"sub":"%s"}`,
	"foreign":   `200 {"email":"root@example.com","active":true}`,
	"calendar":  `200 {"email":"%s","active":true,"scope":"calendar"}`,
	"audience":  `200 {"email":"%s","active":true,"aud":"imap"}`,
	"bearer":    `200 {"email":"%s","token_type":"Bearer","expires_in":3600}`,
	"mac":       `200 {"email":"%s","token_type":"mac"}`,
	"expiry":    `200 {"email":"%s","expires_in":"soon"}`,
	"empty":     `200 `,
	"html":      `200 <html>%s</html>`,
	"cut":       `200 {"email":"%s"`,
	"listed":    `200 ["%s"]`,
	"denied":    `401 {"error":"invalid_token"}`,
	"missing":   `404 `,
	"broken":    `500 {"email":"%s","active":true}`,
	"away":      `503 {"email":"%s","active":true}`,
	"grant":     `200 {"access_token":"good-%s","token_type":"bearer","email":"%s"}`,
	"tokenless": `200 {"email":"%s"}`,
	"wrong":     `400 {"error":"invalid_grant"}`,
	"client":    `401 {"error":"invalid_client"}`,
	"odd":       `400 {"message":"no"}`,
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, fmt.Sprintf("%s %s %q %q %q %q %s", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"),
		r.Header.Get("X-Dovecot-Auth-Service"), r.Header.Get("X-Dovecot-Auth-Remote"), body))
	s.mu.Unlock()
	text := r.URL.RequestURI() + "&" + r.Header.Get("Authorization") + "&" + string(body)
	for kind, answer := range answers {
		_, user, ok := strings.Cut(text, kind+"-")
		if !ok {
			continue
		}
		user, _, _ = strings.Cut(strings.ReplaceAll(user, "%40", "@"), "&")
		var status int
		fmt.Sscan(answer[:3], &status)
		w.WriteHeader(status)
		io.WriteString(w, strings.ReplaceAll(answer[4:], "%s", user)) //nolint:errcheck // the client notices
		return
	}
	switch {
	case strings.Contains(text, "hang-"):
		<-r.Context().Done()
	case strings.Contains(text, "redirect-"):
		http.Redirect(w, r, strings.ReplaceAll(r.URL.RequestURI(), "redirect-", "good-"), http.StatusFound)
	case strings.Contains(text, "stop-"): // in the middle of the answer
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"email":"`) //nolint:errcheck // as above
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case strings.Contains(text, "reset-"):
		panic(http.ErrAbortHandler)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// take returns what was asked since the last time.
func (s *tokenServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// oauth2Files are the settings by the domain of the users whom they are for.
var oauth2Files = map[string]string{
	"info":   "tokeninfo_url = @SERVER@/info?token=\n",
	"auth":   "introspection_url = @SERVER@/auth\nintrospection_mode = auth\nsend_auth_headers = yes\npass_attrs = quota_rule=*:storage=%{oauth2:quota:1G} scope=%$ fixed=x%n flag\n",
	"get":    "introspection_url = @SERVER@/get?x=y&token=\nintrospection_mode = get\nclient_id = id\nclient_secret = s c&t\nusername_attribute = sub\nactive_attribute =\nactive_value =\n",
	"post":   "introspection_url = @SERVER@/post\nintrospection_mode = post\nclient_id = id\nclient_secret = secret\nusername_format = %n\n",
	"basic":  "introspection_url = @BASIC@/basic?user=good-alice@basic\n",
	"both":   "tokeninfo_url = @SERVER@/info?token=\nintrospection_url = @SERVER@/auth\nforce_introspection = yes\n",
	"more":   "tokeninfo_url = @SERVER@/info?token=\nintrospection_url = @SERVER@/auth\n",
	"scope":  "introspection_url = @SERVER@/auth\nscope = imap mail\nopenid_configuration_url = https://example.com/openid?a=b&c\n",
	"grant":  "grant_url = @SERVER@/grant\nclient_id = id\nclient_secret = secret\nscope = openid\nuse_grant_password = yes\n",
	"grants": "grant_url = @SERVER@/grant\nclient_id = id\nuse_grant_password = yes\nintrospection_url = @SERVER@/auth\n",
	"tls":    "introspection_url = @SECURE@/auth\ntls_ca_cert_file = @DIR@/ca.pem\n",
	"badtls": "introspection_url = @SECURE@/auth\ntls_ca_cert_file = @DIR@/other.pem\n",
	"notls":  "introspection_url = @SECURE@/auth\n",
	"dead":   "introspection_url = http://127.0.0.1:@CLOSED@/auth\ntimeout_msecs = 3000\n",
	"slow":   "introspection_url = @SERVER@/auth\ntimeout_msecs = 1000\n",
	"local":  "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=@DIR@/keys/\nusername_attribute = sub\n",
	"issuer": "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=@DIR@/keys/\nissuers = https://one.example https://two.example\nscope = mail\npass_attrs = nick=%{oauth2:nick}\n",
}

// TestOAuth2 asks a server about tokens: what it says, what it is asked, what the client is
// told and what is logged are the same with both programs, and whatever goes wrong is a
// temporary failure.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	tokens := newTokens(t)
	theirs := playOAuth2(t, harness.Original, tokens)
	ours := playOAuth2(t, harness.Dovetail, tokens)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
}

// failures of the network, which everybody words in his own way.
var networkFailure = regexp.MustCompile(`(: oauth2 failed: [\w ]+ failed: )(Connection lost|connect|Couldn't|Absolute|Handshake|SSL|tls: |x509: |Failed|Connection|Transport|Payload|Received invalid|read\().*`)

func playOAuth2(t *testing.T, program harness.Program, tokens *tokens) (said []string) {
	t.Helper()
	handler := &tokenServer{}
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	defer plain.CloseClientConnections()
	files := map[string]string{"requests": "", "ca.pem": certificatePEM(secure.Certificate())}
	dir := harness.Dir(t)
	harness.Certificate(t, dir)
	files["other.pem"] = harness.Run(t, "", "cat", filepath.Join(dir, "cert.pem"))
	tokens.addKeys(files)
	here := strings.NewReplacer("@SERVER@", plain.URL, "@SECURE@", secure.URL, "@CLOSED@", fmt.Sprint(harness.FreePort(t)),
		"@BASIC@", strings.Replace(plain.URL, "//", "//name:secret@", 1))
	config := "auth_verbose = yes\nauth_mechanisms = plain xoauth2 oauthbearer\nuserdb {\n  driver = static\n  args = uid=8 gid=8 home=/srv/%n\n}\n"
	for domain, text := range oauth2Files {
		files[domain+".ext"] = here.Replace(text)
		config += "passdb {\n  driver = oauth2\n  args = @DIR@/" + domain + ".ext\n  username_filter = *@" + domain + "\n}\n"
	}
	files["dovecot.conf"] = config
	r := start(t, program, files)
	said = tokens.play(t, r)
	logins := len(said) // what follows is in the order of the moment
	for _, asked := range handler.take() {
		said = append(said, "asked "+tokens.name(asked))
	}
	r.Stop()
	for _, line := range authLines(t, r.dir) {
		if strings.HasPrefix(line, "auth: Info: Received invalid SSL certificate") {
			continue // which the line after it says, too
		}
		said = append(said, networkFailure.ReplaceAllString(line, "${1}NETWORK"))
	}
	slices.Sort(said[logins:])
	// A connection that was lost before an answer began may have been an old one: such
	// a request is made again.
	return slices.Compact(said)
}

// play puts the requests, on several connections, because the original is slow to tell of
// failures, and returns what is answered.
func (k *tokens) play(t *testing.T, r *running) (said []string) {
	const connections = 12
	lines := k.requests()
	answers := make([][]string, len(lines))
	t.Run(r.dir, func(t *testing.T) {
		for first := range connections {
			t.Run(fmt.Sprint(first), func(t *testing.T) {
				t.Parallel()
				client := dialAuth(t, r.socket("auth-client"), fmt.Sprintf("VERSION\t1\t2\nCPID\t%d\n", 4242+first), "DONE")
				for i, line := range lines {
					connection := i % connections
					if strings.Contains(line, "tls / ") {
						// The original mixes up what is trusted by whom if they come at once.
						connection = 0
					}
					if connection == first {
						answers[i] = speak(t, client, i+1, line)
					}
				}
			})
		}
	})
	for i, line := range lines {
		said = append(said, "", k.name(line))
		for _, text := range answers[i] {
			said = append(said, k.name(text))
		}
	}
	return said
}

func certificatePEM(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// tokens are JWTs and their keys.
type tokens struct {
	secret []byte
	rsa    *rsa.PrivateKey
	ecdsa  *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	list   []jwt
}

// A jwt is a token of a user, and what it shows.
type jwt struct{ name, user, text string }

func newTokens(t *testing.T) *tokens {
	t.Helper()
	var err error
	k := &tokens{secret: []byte("a secret of 32 bytes for HMAC-256")}
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if k.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, k.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	k.make(t)
	return k
}

// addKeys adds the files of the keys.
func (k *tokens) addKeys(files map[string]string) {
	secret := base64.StdEncoding.EncodeToString(k.secret)
	rsaPEM, ecPEM, edPEM := publicPEM(&k.rsa.PublicKey), publicPEM(&k.ecdsa.PublicKey), publicPEM(k.ed.Public())
	point, _ := k.ecdsa.PublicKey.Bytes()
	coordinate := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	for name, text := range map[string]string{
		"default/HS256/default":    secret,
		"default/HS384/default":    secret + "\n",
		"default/RS256/default":    rsaPEM,
		"default/PS256/default":    rsaPEM,
		"default/ES256/default":    ecPEM,
		"default/ES256/jwk":        fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, coordinate(point[1:33]), coordinate(point[33:])),
		"default/RS256/broken":     "garbage",
		"default/EDDSA/default":    edPEM,
		"client%2fone/HS256/a%2fb": secret,
	} {
		files["keys/"+name] = text
	}
}

func publicPEM(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func part(v any) string {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// sign makes a token.
func (k *tokens) sign(t *testing.T, header, claims any, algorithm string) string {
	t.Helper()
	signed := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	switch algorithm {
	case "HS256":
		h := hmac.New(sha256.New, k.secret)
		h.Write([]byte(signed))
		signature = h.Sum(nil)
	case "RS256":
		signature, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, sum[:])
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, k.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES256":
		r, s, err2 := ecdsa.Sign(rand.Reader, k.ecdsa, sum[:])
		err = err2
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case "EdDSA":
		signature = ed25519.Sign(k.ed, []byte(signed))
	case "confused": // the public key, which everybody has, as a secret
		h := hmac.New(sha256.New, []byte(publicPEM(&k.rsa.PublicKey)))
		h.Write([]byte(signed))
		signature = h.Sum(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

type m = map[string]any

// make makes the tokens.
func (k *tokens) make(t *testing.T) {
	now := time.Now().Unix()
	const user = "alice@local"
	good := func(changes ...any) m {
		claims := m{"sub": user, "exp": now + 86400, "iat": now - 10, "nbf": now - 10}
		for i := 0; i < len(changes); i += 2 {
			if changes[i+1] == nil {
				delete(claims, changes[i].(string))
				continue
			}
			claims[changes[i].(string)] = changes[i+1]
		}
		return claims
	}
	header := func(algorithm string, more ...any) m {
		h := m{"typ": "JWT", "alg": algorithm}
		for i := 0; i < len(more); i += 2 {
			h[more[i].(string)] = more[i+1]
		}
		return h
	}
	add := func(name, user, text string) { k.list = append(k.list, jwt{"JWT(" + name + ")", user, text}) }
	for _, algorithm := range []string{"HS256", "RS256", "PS256", "ES256"} {
		token := k.sign(t, header(algorithm), good(), algorithm)
		add(algorithm, user, token)
		// Another user under the same signature.
		parts := strings.Split(token, ".")
		add(algorithm+" changed", "bob@local", parts[0]+"."+part(good("sub", "bob@local"))+"."+parts[2])
		add(algorithm+" without signature", user, parts[0]+"."+parts[1]+".")
	}
	for name, token := range map[string]string{"none": "none", "None": "None", "unknown": "HS1", "also unknown": "RS1", "and this": "XY256"} {
		add("algorithm "+name, user, k.sign(t, header(token), good(), "HS256"))
	}
	add("lower case", user, k.sign(t, header("hs256"), good(), "HS256"))
	add("confused", user, k.sign(t, header("HS256"), good(), "confused"))
	add("RS256 header, HMAC signature", user, k.sign(t, header("RS256"), good(), "confused"))
	add("JWK", user, k.sign(t, header("ES256", "kid", "jwk"), good(), "ES256"))
	add("unknown key", user, k.sign(t, header("HS256", "kid", "other"), good(), "HS256"))
	add("empty key", user, k.sign(t, header("HS256", "kid", ""), good(), "HS256"))
	add("key elsewhere", user, k.sign(t, header("HS256", "kid", "../HS384/default"), good(), "HS256"))
	add("key of dots", user, k.sign(t, header("HS256", "kid", ".."), good(), "HS256"))
	add("party", user, k.sign(t, header("HS256", "kid", "a/b"), good("azp", "client/one"), "HS256"))
	add("unknown party", user, k.sign(t, header("HS256"), good("azp", "two"), "HS256"))
	add("expired", user, k.sign(t, header("HS256"), good("exp", now-100), "HS256"))
	add("without exp", user, k.sign(t, header("HS256"), good("exp", nil), "HS256"))
	add("malformed exp", user, k.sign(t, header("HS256"), good("exp", "x"), "HS256"))
	add("negative exp", user, k.sign(t, header("HS256"), good("exp", -5), "HS256"))
	add("date", user, k.sign(t, header("HS256"), good("exp", "2099-01-02T03:04:05Z"), "HS256"))
	add("too early", user, k.sign(t, header("HS256"), good("nbf", now+1000), "HS256"))
	add("malformed nbf", user, k.sign(t, header("HS256"), good("nbf", "x"), "HS256"))
	add("from the future", user, k.sign(t, header("HS256"), good("iat", now+1000), "HS256"))
	add("malformed iat", user, k.sign(t, header("HS256"), good("iat", "x"), "HS256"))
	add("without sub", user, k.sign(t, header("HS256"), good("sub", nil), "HS256"))
	add("without typ", user, k.sign(t, m{"alg": "HS256"}, good(), "HS256"))
	add("without alg", user, k.sign(t, m{"typ": "JWT"}, good(), "HS256"))
	add("other user", "bob@local", k.sign(t, header("HS256"), good(), "HS256"))
	add("inactive", user, k.sign(t, header("HS256"), good("active", false), "HS256"))
	add("header no object", user, k.sign(t, "[]", good(), "HS256"))
	add("body no object", user, k.sign(t, header("HS256"), "x", "HS256"))
	add("two parts", user, "a.b")
	add("no token", user, "password")
	issued := func(issuer string, more ...any) m {
		return good(append([]any{"iss", issuer, "email", "alice@issuer", "nick", "ali"}, more...)...)
	}
	const issuer = "alice@issuer"
	add("issuer", issuer, k.sign(t, header("HS256"), issued("https://two.example", "scope", "mail"), "HS256"))
	add("audience", issuer, k.sign(t, header("HS256"), issued("https://one.example", "aud", "mail"), "HS256"))
	add("wrong scope", issuer, k.sign(t, header("HS256"), issued("https://two.example", "scope", "x"), "HS256"))
	add("wrong issuer", issuer, k.sign(t, header("HS256"), issued("https://three.example"), "HS256"))
	add("no issuer", issuer, k.sign(t, header("HS256"), good(), "HS256"))
}

// name replaces tokens by their names.
func (k *tokens) name(line string) string {
	for _, token := range k.list {
		if len(token.text) > 10 {
			line = strings.ReplaceAll(line, token.text, token.name)
		}
	}
	return line
}

// requests are the logins, for the function speak.
func (k *tokens) requests() (lines []string) {
	bearer := func(domain string, kinds ...string) {
		for _, kind := range kinds {
			user := "alice@" + domain
			lines = append(lines, fmt.Sprintf("OAUTHBEARER %s / %s-%s", user, kind, user))
		}
	}
	bearer("info", "good", "upper", "inactive", "silent", "nobody", "foreign", "bearer", "mac", "expiry", "empty", "html", "cut", "listed", "denied", "missing", "broken", "away", "stop", "reset")
	bearer("auth", "good", "silent", "inactive", "nobody", "foreign", "html", "empty", "denied", "broken", "reset", "good")
	bearer("get", "nobody", "good", "broken")
	bearer("post", "good", "foreign", "denied")
	bearer("basic", "x")
	bearer("both", "good", "inactive", "denied")
	bearer("more", "good", "nobody", "silent")
	bearer("scope", "good", "calendar", "audience", "foreign")
	bearer("tls", "good", "inactive")
	bearer("badtls", "good")
	bearer("notls", "good")
	bearer("dead", "good")
	bearer("slow", "good", "hang", "good")
	lines = append(lines, "XOAUTH2 Alice@INFO / good-alice@info", "XOAUTH2 alice@info / inactive-alice@info", "AUTH alice@info / good-alice@info", "AUTH alice@info / inactive-alice@info")
	for _, kind := range []string{"good", "grant", "wrong", "client", "odd", "empty", "broken", "html", "reset"} {
		lines = append(lines, fmt.Sprintf("AUTH alice@grant / %s-alice@grant", kind))
	}
	for _, kind := range []string{"grant", "tokenless", "denied"} {
		lines = append(lines, fmt.Sprintf("AUTH alice@grants / %s-alice@grants", kind))
	}
	for _, token := range k.list {
		lines = append(lines, fmt.Sprintf("OAUTHBEARER %s / %s", token.user, token.text))
	}
	return lines
}

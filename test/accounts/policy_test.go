package accounts

import (
	"crypto/tls"
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

const policyConfig = `auth_verbose = yes
auth_mechanisms = plain cram-md5
auth_master_user_separator = *
auth_policy_server_url = @URL@
auth_policy_hash_nonce = salt
passdb {
  driver = passwd-file
  args = @DIR@/masters
  master = yes
  result_success = continue
}
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = static
  args = uid=8 gid=8 home=/srv/%u
}
`

// policyVariants are further settings.
var policyVariants = map[string]string{
	"default":     "",
	"log only":    "auth_policy_log_only = yes\n",
	"fail closed": "auth_policy_reject_on_fail = yes\n",
	"only before": "auth_policy_check_after_auth = no\nauth_policy_report_after_auth = no\nauth_policy_server_api_header = secret key\n",
	"only after":  "auth_policy_check_before_auth = no\nauth_policy_server_api_header = X-Token: secret key\n",
	"only report": "auth_policy_check_before_auth = no\nauth_policy_check_after_auth = no\nauth_policy_server_url = @USERURL@\n",
	"attributes": "auth_policy_hash_mech = sha512\nauth_policy_hash_truncate = 0\n" +
		"auth_policy_request_attributes = z=%{mech} login=%n attrs/ip=%r attrs/port=%{rport} attrs/a=%{local_name} b/c=%c pw=%{hashed_password} name=%{requested_username}\n",
	"truncated": "auth_policy_hash_mech = sha1\nauth_policy_hash_truncate = 21\n",
	"HTTPS":     "auth_policy_server_url = @HTTPS@\nssl_client_ca_file = @CA@\n",
}

// policyRequests are logins; the server decides by their names.
const policyRequests = `AUTH allow / secret
AUTH allow / wrong
AUTH allow*master / secret
AUTH reject / secret
AUTH reject / wrong
AUTH silent / secret
AUTH tarpit / secret
AUTH error / secret
AUTH broken / secret
AUTH words / secret
AUTH empty / secret
AUTH nothing / secret
AUTH nosuch "quoted" / x\y
CRAM-MD5 allow / secret
CRAM-MD5 reject / secret
`

// policyAnswers are by name; others get status 0.
var policyAnswers = map[string]string{
	"reject": `{"status":-1,"msg":"Go away"}`, "silent": `{"msg":"","status":-7}`, "tarpit": `{"status":1}`,
	"broken": `{"status":`, "words": `{"status":"no"}`, "empty": "", "nothing": `{}`,
}

// A policyServer keeps what it is asked.
type policyServer struct {
	mu    sync.Mutex
	asked []string
}

func (p *policyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	login, _, _ := strings.Cut(r.URL.RequestURI(), "?")
	user, password, _ := r.BasicAuth()
	p.mu.Lock()
	p.asked = append(p.asked, fmt.Sprintf("%s %s?%s type=%s key=%s token=%s user=%s:%s agent=%s %s", r.Method, login, r.URL.RawQuery,
		r.Header.Get("Content-Type"), r.Header.Get("X-API-Key"), r.Header.Get("X-Token"), user, password, r.UserAgent(), body))
	p.mu.Unlock()
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, _ := members["login"].(string)
	if name == "error" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	answer, ok := policyAnswers[name]
	if !ok {
		answer = `{"status":0}`
	}
	io.WriteString(w, answer)
}

// TestPolicy compares what a policy server is told, and what follows from its answers.
func TestPolicy(t *testing.T) {
	t.Parallel()
	for name, variant := range policyVariants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := playPolicy(t, harness.Original, variant), playPolicy(t, harness.Dovetail, variant)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
			if len(ours) < 20 {
				t.Errorf("too little happened: %q", ours)
			}
		})
	}
}

func playPolicy(t *testing.T, program harness.Program, variant string) []string {
	t.Helper()
	asked := new(policyServer)
	server, secure := httptest.NewServer(asked), httptest.NewUnstartedServer(asked)
	t.Cleanup(server.Close)
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	ca := filepath.Join(harness.Dir(t), "ca.pem")
	harness.Write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	names := strings.NewReplacer(
		"@URL@", server.URL+"/policy", "@USERURL@", strings.Replace(server.URL, "://", "://us%20er:pass@", 1)+"/p?x=y&",
		"@HTTPS@", secure.URL+"/policy", "@CA@", ca,
	)
	r := start(t, program, map[string]string{
		"dovecot.conf": names.Replace(policyConfig + variant),
		"users":        strings.ReplaceAll("allow:S\nreject:S\nsilent:S\ntarpit:S\nerror:S\nbroken:S\nwords:S\nempty:S\nnothing:S\n", "S", "{PLAIN}secret"),
		"masters":      "master:{PLAIN}secret\n",
	})
	answers := ask(t, r, policyRequests)
	// Reports come when there is time.
	var reports []string
	want := wantedReports(variant)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		asked.mu.Lock()
		reports = slices.Clone(asked.asked)
		asked.mu.Unlock()
		count := 0
		for _, line := range reports {
			if strings.Contains(line, "command=report") {
				count++
			}
		}
		if count >= want || time.Now().After(deadline) {
			break
		}
	}
	r.Stop()
	slices.Sort(reports)
	lines := append(answers, reports...)
	log := authLines(t, r.dir)
	slices.Sort(log) // what is said of different requests comes in any order
	for _, line := range log {
		lines = append(lines, names2text(line, server.URL, secure.URL))
	}
	for i := range lines {
		lines[i] = names2text(lines[i], server.URL, secure.URL)
	}
	return lines
}

// wantedReports is how many reports there will be.
func wantedReports(variant string) int {
	if strings.Contains(variant, "report_after_auth = no") {
		return 0
	}
	return strings.Count(policyRequests, "\n")
}

// policyErrors are errors in the words of a library.
var policyErrors = regexp.MustCompile(`(JSON parse error|HTTP error: 90\d\d).*|Policy server result was too short`)

func names2text(line string, urls ...string) string {
	for _, url := range urls {
		line = strings.ReplaceAll(line, url, "URL")
		line = strings.ReplaceAll(line, url[strings.LastIndexByte(url, ':'):], ":PORT")
	}
	return policyErrors.ReplaceAllString(line, "ERROR")
}

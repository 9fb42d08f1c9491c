package ext

import (
	"errors"
	"fmt"
	"slices"
)

// OAuth2 is the file of a passdb with driver oauth2.
type OAuth2 struct {
	TokeninfoURL           string `set:"tokeninfo_url" doc:"where a token is looked up; it is appended"`
	GrantURL               string `set:"grant_url" doc:"where a password is exchanged for a token"`
	IntrospectionURL       string `set:"introspection_url" doc:"where more is asked about a token"`
	Scope                  string `set:"scope" doc:"scopes a token must have"`
	ForceIntrospection     bool   `set:"force_introspection" doc:"introspect even if the token lookup told the user name"`
	IntrospectionMode      string `set:"introspection_mode" doc:"auth, get, post or local"`
	UsernameFormat         string `set:"username_format" default:"%Lu" doc:"template that the username attribute must equal"`
	UsernameAttribute      string `set:"username_attribute" default:"email" doc:"field of the answer with the user name"`
	PassAttrs              string `set:"pass_attrs" doc:"key=template pairs of fields to return"`
	LocalValidationKeyDict string `set:"local_validation_key_dict" doc:"dictionary with keys to validate tokens with"`
	ActiveAttribute        string `set:"active_attribute" default:"active" doc:"field of the answer that tells whether the token is valid"`
	ActiveValue            string `set:"active_value" default:"true" doc:"what active_attribute is then"`
	ClientID               string `set:"client_id" doc:"client id for password grants and introspection"`
	ClientSecret           string `set:"client_secret" doc:"its secret"`
	Issuers                string `set:"issuers" doc:"issuers that are trusted, separated by blanks"`
	OpenIDConfigurationURL string `set:"openid_configuration_url" doc:"told to clients after a failure"`
	TimeoutMsecs           int    `set:"timeout_msecs" default:"0" doc:"limit of a request; 0 is none"`
	MaxIdleTimeMsecs       int    `set:"max_idle_time_msecs" default:"60000" doc:"how long an idle connection is kept"`
	MaxParallelConnections int    `set:"max_parallel_connections" default:"10" doc:"connections to a server at once"`
	MaxPipelinedRequests   int    `set:"max_pipelined_requests" default:"1" doc:"requests waiting on a connection"`
	SendAuthHeaders        bool   `set:"send_auth_headers" doc:"send X-Dovecot-Auth headers about the login"`
	UseGrantPassword       bool   `set:"use_grant_password" doc:"check plain passwords at grant_url"`
	TLSCACertFile          string `set:"tls_ca_cert_file" doc:"CA certificates that are trusted"`
	TLSCACertDir           string `set:"tls_ca_cert_dir" doc:"directory of CA certificates that are trusted"`
	TLSCertFile            string `set:"tls_cert_file" doc:"own certificate"`
	TLSKeyFile             string `set:"tls_key_file" doc:"key of the own certificate"`
	TLSCipherSuite         string `set:"tls_cipher_suite" default:"HIGH:!SSLv2" doc:"ciphers in OpenSSL's notation"`
	TLSAllowInvalidCert    bool   `set:"tls_allow_invalid_cert" doc:"accept any certificate"`
	RawlogDir              string `set:"rawlog_dir" doc:"directory for logs of the requests"`
	Debug                  bool   `set:"debug" doc:"log more"`
}

// LoadOAuth2 reads and checks the file of a passdb with driver oauth2.
func LoadOAuth2(files Files, path string, warn func(text string)) (*OAuth2, error) {
	o := &OAuth2{}
	if err := Load(files, path, o, warn); err != nil {
		return nil, fmt.Errorf("oauth2 %s: %w", path, err)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("oauth2: %w", err)
	}
	return o, nil
}

func (o *OAuth2) check() error {
	switch {
	case o.LocalValidationKeyDict == "" && o.TokeninfoURL == "" && (o.GrantURL == "" || o.ClientID == "") && o.IntrospectionURL == "":
		return errors.New("Password grant, tokeninfo, introspection URL or validation key dictionary must be given")
	case o.ActiveAttribute != "" && o.ActiveValue == "":
		return errors.New("Cannot have empty active_value if active_attribute is set")
	case o.ActiveAttribute == "" && o.ActiveValue != "":
		return errors.New("Cannot have empty active_attribute is active_value is set") // as Dovecot says it
	case o.IntrospectionMode == "local" && o.LocalValidationKeyDict == "":
		return errors.New("local_validation_key_dict is required for local introspection.")
	case !slices.Contains([]string{"", "auth", "get", "post", "local"}, o.IntrospectionMode):
		return fmt.Errorf("Invalid value '%s' for introspection mode, must be on auth, get, post or local", o.IntrospectionMode)
	}
	return nil
}

package sasl

import (
	"encoding/json"
	"testing"
)

func TestBearer(t *testing.T) {
	for _, tt := range []struct {
		server             Server
		message            string
		user, token, error string
	}{
		{xoauth2Server{}, "user=a@b\x01auth=Bearer T\x01\x01", "a@b", "T", ""},
		{xoauth2Server{}, "auth=bearer T\x01x=y\x01user=a\x01", "a", "T", ""},
		{xoauth2Server{}, "user=a\x01\x01", "a", "", "Username or token missing"},
		{xoauth2Server{}, "auth=Bearer T\x01\x01", "", "", "Username or token missing"},
		{xoauth2Server{}, "user=a\x01auth=Basic T\x01\x01", "", "", "Invalid continued data"},
		{xoauth2Server{}, "user=a\x01auth=Bearer \x01\x01", "", "", "Invalid continued data"},
		{xoauth2Server{}, "", "", "", "Username or token missing"},
		{oauthBearerServer{}, "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
			"user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", ""},
		{oauthBearerServer{}, "y,a=a=2Cb=3Dc,\x01auth=Bearer T\x01\x01", "a,b=c", "T", ""},
		{oauthBearerServer{}, "n,,\x01auth=Bearer T\x01\x01", "", "", "Missing username or token"},
		{oauthBearerServer{}, "n,a=a,\x01\x01", "a", "", "Missing username or token"},
		{oauthBearerServer{}, "n,a=a=2,\x01auth=Bearer T\x01\x01", "", "", "Invalid username escaping"},
		{oauthBearerServer{}, "p=tls-unique,a=a,\x01auth=Bearer T\x01\x01", "", "", "Client requested and used channel-binding"},
		{oauthBearerServer{}, "f,n,a=a,\x01auth=Bearer T\x01\x01", "", "", "Client requested non-standard mechanism"},
		{oauthBearerServer{}, "x,a=a,\x01auth=Bearer T\x01\x01", "", "", "Invalid gs2-header in request"},
		{oauthBearerServer{}, "\x01auth=Bearer T\x01\x01", "", "", "Invalid continued data"},
		{oauthBearerServer{}, "", "", "", "Invalid continued data"},
	} {
		step, err := tt.server.Next([]byte(tt.message))
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != tt.error || step.Authcid != tt.user || step.Password != tt.token {
			t.Errorf("%q: %+v %v", tt.message, step, err)
		}
	}
}

// A refusal is JSON, in the form of Dovecot's.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		server     RefusalServer
		url, wants string
	}{
		{oauthBearerServer{}, "", `{"status":"invalid_token"}`},
		{xoauth2Server{}, "", `{"status":"401","schemes":"bearer","scope":"mail"}`},
		{oauthBearerServer{}, "https://a/b?c=d&e=<é\"\n", `{"status":"invalid_token","openid-configuration":"https://a/b?c=d&e=<é\"\u000a"}`},
	} {
		got := tt.server.Refused(tt.url)
		if string(got) != tt.wants || !json.Valid(got) {
			t.Errorf("%s, want %s", got, tt.wants)
		}
	}
}

package auth

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A server with mechanisms that cannot work does not start, and says why in Dovecot's
// words where Dovecot does not have them either.
func TestMechanismsRefused(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("a:{PLAIN}b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := "passdb {\n driver = passwd-file\n args = " + users + "\n}\n"
	for _, tt := range []struct{ config, want string }{
		{"auth_mechanisms = plain digest-md5 apop xoauth2 oauthbearer scram-sha-256-plus\n" + file, ""},
		{"auth_mechanisms = xoauth2\n", ""},
		{"auth_mechanisms = plain gssapi\n" + file, "Authentication mechanism 'GSSAPI' is not supported by Dovetail: " + absent["GSSAPI"]},
		{"auth_mechanisms = ntlm\n" + file, "Authentication mechanism 'NTLM' is not supported by Dovetail: " + absent["NTLM"]},
		{"auth_mechanisms = skey\n" + file, "Unknown authentication mechanism 'SKEY'"},
		{"auth_mechanisms = rpa\n" + file, "Unknown authentication mechanism 'RPA'"},
		{"auth_mechanisms = \n" + file, "No authentication mechanisms configured"},
		{"auth_mechanisms = plain\n", "No passdbs specified in configuration file. PLAIN mechanism needs one"},
		{"auth_mechanisms = plain otp\n" + file, "OTP mechanism can't be supported with given passdbs"},
		{"auth_mechanisms = anonymous\nauth_anonymous_username =\n" + file, "ANONYMOUS listed in mechanisms, but anonymous_username not set"},
	} {
		cfg, err := dovecot.Parse("dovecot.conf", tt.config)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		s, err := NewServer(&Setup{Config: cfg}, nil)
		if err != nil {
			got = err.Error()
		} else {
			s.Close()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.config, got, tt.want)
		}
	}
}

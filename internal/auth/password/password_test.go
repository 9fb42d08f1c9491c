package password

import (
	"errors"
	"testing"
)

// stored are values made by Dovecot 2.3 for the password "secret" of bob@x.
var stored = []string{
	"{PLAIN}secret", "{CLEAR}secret", "{CLEARTEXT}secret", "{PLAIN-TRUNC}6-secret", "{plain}secret",
	"{DES-CRYPT}L1FjxljFOJIaw", "{DES-CRYPT}LWfR5x3UDDxVg", "{CRYPT}LWfR5x3UDDxVg",
	"{MD5-CRYPT}$1$3.mepu/r$7YW5JP16CR91GbWkbPBdx0", "$1$3.mepu/r$7YW5JP16CR91GbWkbPBdx0", "{MD5}$1$/GXZ4N8G$Js0WvE0jqFkJpzgGPPXU9/",
	"{SHA256-CRYPT}$5$8apaGwsgz6x0R7h4$p9fSTxKVRBsWehb/meKKUt/SPKvBZNxmY/acoeBKOWB",
	"{SHA512-CRYPT}$6$FrhkgSyzKuhXAPKw$diiAILUSSxtx264gU6wOESl64bPNcHAl6hKJdEf82CUdDRklTPO/ODb94wR5SULy58kkqbDNucz6xu7/tKwiJ/",
	"{BLF-CRYPT}$2y$05$ZPHrjMTsZw/ewKeXl61iJO2k87a96t7ZAmNDZN.q.tdat2ZbN/McO",
	"{CRYPT}$2y$05$kjt72llbGqUJvOEijvetpOH9GmaOjHW3b9YoqxyKV29kd8jnO0zcy",
	"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=", "{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ",
	"{SHA1}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", "{SHA1.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
	"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
	"{SHA256.HEX}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
	"{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
	"{SMD5}XSD6qcG2ljyxydjpnun5ieJnLQE=", "{SSHA}2L6devMV9emFyUTbWrmViyzWpfU4RCzl",
	"{SSHA.HEX}dd05049ba16358317fa31f9371491a0a80a2137a1bc94cc8",
	"{SSHA256}nmx+uMsMu/nF3PPoPz2VWyAzt+ZG94PBPA9oVPX8Jx0Sf9j/",
	"{SSHA512}Y6B+i5rboOamHEiFF325aIDsZ0ivyxtEKimRyNBZUXt6+LTYgNlJzCGwoFei9LDfA+mNn+eymKKBXiS99JZde9aR/ug=",
	"{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", "{LDAP-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69", "{PLAIN-MD5.B64}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
	"{PLAIN-MD4}67d3dafef63ff00603aeef3769cfbf0d",
	"{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
	"{HMAC-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
	"{DIGEST-MD5}28fc4b11d70aab11136b67d1c9ad44d1",
	"{SCRAM-SHA-1}4096,o2hl7Jmx3BFCR0l166Nfow==,pjU6bQ4I9ebJCfX2TTO3Gja7aT8=,oFkyxTuG7WmHEQSb08JAn02vp74=",
	"{SCRAM-SHA-256}4096,esVkbi7HUocHJW+nEeXfeA==,g/OXDcrXJy7fFnUrrqrbJs1JKKzEmhRIgM2DKzmmLOI=,8Y4LgDgvw0CHo93hA8/zdh3cQvZ2Mw/WijCvTko2GMA=",
	"{PBKDF2}$1$M2bpffJTn2zEe2pk$5000$3345fabc182f43e8092268095ea7fef81705e9ef",
	"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$RZcCYyIJBwmwylxgLXEscQ$Nu4EQDRha99lPtRBOJHWna/1MPSiPPZ/IpQW+IPg2aw",
	"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$yordgGtQrbfJkPNwnzN5qg$7PXIicOJwEuGdF3XzZjMTz6qSwEzrO7f4R428EhFx/8",
}

func TestVerifyDovecotValues(t *testing.T) {
	for _, value := range stored {
		scheme, data := Split(value, "CRYPT")
		if err := Verify(scheme, data, "secret", "bob@x"); err != nil {
			t.Errorf("%s: right password: %v", value, err)
		}
		for _, wrong := range []string{"Secret", "", "secre", "bsecret"} {
			if err := Verify(scheme, data, wrong, "bob@x"); !errors.Is(err, ErrMismatch) {
				t.Errorf("%s: password %q: got %v, want ErrMismatch", value, wrong, err)
			}
		}
	}
}

func TestGenerateRoundTrip(t *testing.T) {
	for _, name := range Schemes() {
		data, err := Generate(name, "pässword", Options{User: "bob@x"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := Verify(name, data, "pässword", "bob@x"); err != nil {
			t.Errorf("{%s}%s: %v", name, data, err)
		}
		if err := Verify(name, data, "passw0rd", "bob@x"); !errors.Is(err, ErrMismatch) {
			t.Errorf("{%s}%s: wrong password: got %v, want ErrMismatch", name, data, err)
		}
	}
}

func TestUnknownScheme(t *testing.T) {
	for _, name := range []string{"FOO", "PLAIN.FOO", ""} {
		err := Verify(name, "x", "x", "")
		if want := "Unknown scheme " + name; err == nil || err.Error() != want {
			t.Errorf("Verify(%q) = %v, want %s", name, err, want)
		}
	}
}

// FuzzVerify looks for stored data that panics, or that matches a password
// it should not.
func FuzzVerify(f *testing.F) {
	for _, value := range stored {
		f.Add(value)
	}
	f.Add("{SHA256-CRYPT}$5$rounds=5$x$y")
	f.Add("{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$$")
	f.Fuzz(func(t *testing.T, value string) {
		scheme, data := Split(value, "CRYPT")
		if Expensive(scheme, data) {
			return // the cost is what such data is for
		}
		Verify(scheme, data, "secret", "bob@x") //nolint:errcheck // any error is fine
	})
}

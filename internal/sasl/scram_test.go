package sasl

import (
	"crypto/pbkdf2"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// stored is what a database has of a password.
func (h *scramHash) storedPassword(t *testing.T, password, salt string, iterations int) []byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(h.new, password, raw, iterations, h.size)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, "%d,%s,%s,%s", iterations, salt, encode(h.sum(h.mac(salted, "Client Key"))), encode(h.mac(salted, "Server Key")))
}

// The examples of RFC 5802 section 5 and RFC 7677 section 3.
func TestSCRAMExamples(t *testing.T) {
	for _, tt := range []struct {
		h                                          *scramHash
		salt, nonce, clientFinal, serverFinalValue string
	}{
		{
			scramSHA1, "QSXCR+Q6sek8bf92", "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
		{
			scramSHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	} {
		s := &scramServer{h: tt.h}
		clientNonce := tt.nonce[:24]
		if tt.h == scramSHA256 {
			clientNonce = tt.nonce[:20]
		}
		step, err := s.Next([]byte("n,,n=user,r=" + clientNonce))
		if err != nil || step.Action != Fetch || step.Authcid != "user" || step.Scheme != tt.h.scheme {
			t.Fatalf("%+v %v", step, err)
		}
		s.nonce = tt.nonce // which is random
		step, err = s.Credentials(tt.h.storedPassword(t, "pencil", tt.salt, 4096))
		if want := "r=" + tt.nonce + ",s=" + tt.salt + ",i=4096"; err != nil || string(step.Data) != want {
			t.Fatalf("%+v %v", step, err)
		}
		step, err = s.Next([]byte(tt.clientFinal))
		if err != nil || step.Action != Accept || string(step.Data) != tt.serverFinalValue {
			t.Errorf("%+v %v", step, err)
		}
	}
}

// Client and server agree if the password is the same, and only then.
func TestSCRAM(t *testing.T) {
	for _, h := range []*scramHash{scramSHA1, scramSHA256} {
		for _, tt := range []struct {
			user, authzid, password string
			good                    bool
		}{{"a,b=c", "", "secret", true}, {"user", "other", "secret", true}, {"user", "", "wrong", false}, {"user", "", "", false}} {
			client := newSCRAMClient(h)(Credentials{Username: tt.user, Authzid: tt.authzid, Password: tt.password})
			server := newSCRAMServer(h)(Session{}).(CredentialServer)
			message, err := client.Start()
			if err != nil {
				t.Fatal(err)
			}
			step, err := server.Next(message)
			if err != nil || step.Authcid != tt.user || step.Authzid != tt.authzid {
				t.Fatalf("%+v %v", step, err)
			}
			if step, err = server.Credentials(h.storedPassword(t, "secret", "c2FsdA==", 1)); err != nil {
				t.Fatal(err)
			}
			if message, err = client.Next(step.Data); err != nil {
				t.Fatal(err)
			}
			step, err = server.Next(message)
			if tt.good != (err == nil && step.Action == Accept) {
				t.Errorf("%q: %+v %v", tt.password, step, err)
			}
			if tt.good {
				if message, err = client.Next(step.Data); err != nil || len(message) != 0 {
					t.Errorf("%q %v", message, err)
				}
			}
		}
	}
}

// Whatever a client says, it is in only with the password.
func FuzzSCRAM(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("y,a=x,n=u=2C,r=,", "c=eSxhPXgs,r=,p=")
	f.Add("p=tls-unique,,n=u,r=x", "")
	f.Fuzz(func(t *testing.T, first, final string) {
		s := &scramServer{h: scramSHA256}
		if step, err := s.Next([]byte(first)); err != nil || step.Action != Fetch {
			return
		}
		if _, err := s.Credentials(scramSHA256.storedPassword(t, "secret", "c2FsdA==", 1)); err != nil {
			t.Fatal(err)
		}
		final = strings.ReplaceAll(final, "NONCE", s.nonce)
		if step, err := s.Next([]byte(final)); err == nil {
			t.Errorf("%q %q: %+v", first, final, step)
		}
	})
}

// The proof of a mechanism with channel binding holds on one TLS connection only, and
// a client that was not shown the offer notices.
func TestSCRAMPlus(t *testing.T) {
	unique, other := Binding{"tls-unique", []byte("unique")}, Binding{"tls-unique", []byte("other")}
	for _, tt := range []struct {
		name     string
		client   Binding
		plus     bool
		bindings []Binding
		err      string
	}{
		{"same connection", unique, true, []Binding{{"tls-exporter", []byte("exporter")}, unique}, ""},
		{"man in the middle", other, true, []Binding{unique}, "Invalid channel binding data"},
		{"unknown type", Binding{"tls-server-end-point", []byte("x")}, true, []Binding{unique}, "Channel binding tls-server-end-point not available"},
		{"no TLS", unique, true, nil, "Channel binding tls-unique not available"},
		{"plain mechanism", unique, false, []Binding{unique}, "Channel binding not supported"},
	} {
		server := &scramServer{h: scramSHA256, plus: tt.plus, session: Session{Bindings: tt.bindings, PlusOffered: true}}
		client := newSCRAMPlusClient(scramSHA256)(Credentials{Username: "user", Password: "secret", Binding: tt.client})
		message, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		step, err := server.Next(message)
		if err == nil {
			step, err = server.Credentials(scramSHA256.storedPassword(t, "secret", "c2FsdA==", 1))
		}
		if err == nil {
			message, err = client.Next(step.Data)
		}
		if err == nil {
			step, err = server.Next(message)
		}
		switch {
		case tt.err == "" && (err != nil || step.Action != Accept):
			t.Errorf("%s: %+v %v", tt.name, step, err)
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
		}
	}
	downgraded := &scramServer{h: scramSHA256, session: Session{PlusOffered: true}}
	if _, err := downgraded.Next([]byte("y,,n=user,r=x")); err == nil {
		t.Error("a client that supports channel binding logs in without, though it was offered")
	}
	bare := &scramServer{h: scramSHA256, plus: true, session: Session{Bindings: []Binding{unique}}}
	if _, err := bare.Next([]byte("n,,n=user,r=x")); err == nil {
		t.Error("a mechanism with channel binding works without")
	}
}

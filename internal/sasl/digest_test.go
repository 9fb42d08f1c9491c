package sasl

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func storedDigest(user, realm, password string) []byte {
	sum := md5.Sum([]byte(user + ":" + realm + ":" + password))
	return []byte(hex.EncodeToString(sum[:]))
}

// TestDigestExample is the example of RFC 2831 section 4.
func TestDigestExample(t *testing.T) {
	s := &digestServer{nonce: "OA6MG9tEQGm2hh"}
	step, err := s.Next([]byte(`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,` +
		`cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`))
	if err != nil || step.Action != Fetch || step.Authcid != "chris@elwood.innosoft.com" || step.HashUser != step.Authcid {
		t.Fatalf("%+v %v", step, err)
	}
	step, err = s.Credentials(storedDigest("chris", "elwood.innosoft.com", "secret"))
	if err != nil || step.Action != Accept || string(step.Data) != "rspauth=ea40f60335c427b5527b84dbabcdfffd" {
		t.Errorf("%s %v", step.Data, err)
	}
}

func TestDigest(t *testing.T) {
	for _, tt := range []struct {
		user, realm, authzid, password, name string
		good                                 bool
	}{
		{"alice", "", "", "secret", "alice", true},
		{"alice", "example.com", "", "secret", "alice@example.com", true},
		{`al"i\ce`, "", "bob", "secret", `al"i\ce`, true},
		{"alice", "", "", "wrong", "alice", false},
		{"alice", "", "", "", "alice", false},
	} {
		var realms []string
		if tt.realm != "" {
			realms = []string{tt.realm, "other"}
		}
		server := newDigestServer(Session{Realms: realms}).(CredentialServer)
		client := newDigestClient(Credentials{Username: tt.user, Password: tt.password, Authzid: tt.authzid, Hostname: "host"})
		step, err := server.Next([]byte("ignored"))
		if err != nil || step.Action != Challenge {
			t.Fatalf("%+v %v", step, err)
		}
		message, err := client.Next(step.Data)
		if err != nil {
			t.Fatal(err)
		}
		if step, err = server.Next(message); err != nil || step.Authcid != tt.name || step.Authzid != tt.authzid {
			t.Fatalf("%+v %v", step, err)
		}
		step, err = server.Credentials(storedDigest(tt.user, tt.realm, "secret"))
		if tt.good != (err == nil && step.Action == Accept) || (!tt.good && !errors.Is(err, ErrMismatch)) {
			t.Errorf("%q: %+v %v", tt.password, step, err)
		}
		if tt.good {
			if _, err := client.Next(step.Data); err != nil {
				t.Error(err)
			}
		}
	}
}

// What is wrong with a response is told in Dovecot's words.
func TestDigestMistakes(t *testing.T) {
	for _, tt := range []struct{ message, err string }{
		{"", "Client sent no input"},
		{"garbage", "Missing nonce parameter"},
		{`nonce="other"`, "Invalid nonce"},
		{"nonce=N", "Missing cnonce parameter"},
		{"nonce=N,cnonce=c", "Missing username parameter"},
		{"nonce=N,cnonce=", "cnonce can't contain empty value"},
		{"cnonce=a,cnonce=b", "cnonce must not exist more than once"},
		{`username=""`, "empty username"},
		{"username=a,username=b", "username must not exist more than once"},
		{"authzid=", "empty authzid"},
		{"authzid=a , authzid=b", "authzid must not exist more than once"},
		{"nc=00000002", "re-auth not supported currently"},
		{"nc=x", "nonce-count value invalid"},
		{"nc=1,nc=1", "nonce-count must not exist more than once"},
		{"qop=auth-conf", "Nonallowed QoP requested"},
		{"QOP = nonsense", "Unknown QoP value: nonsense"},
		{"digest-uri=imap", "Invalid digest-uri"},
		{"maxbuf=0", "Invalid maxbuf value"},
		{"maxbuf=1,maxbuf=2", "maxbuf must not exist more than once"},
		{"charset=latin1", "Only utf-8 charset is allowed"},
		{"response=12", "Invalid response value"},
	} {
		s := &digestServer{nonce: "N"}
		if _, err := s.Next([]byte(tt.message)); err == nil || err.Error() != tt.err {
			t.Errorf("%q: %v, want %s", tt.message, err, tt.err)
		}
	}
}

// Whatever a client says, it is in only with the password.
func FuzzDigest(f *testing.F) {
	f.Add(`username="a",realm="r",nonce="N",cnonce="c",nc=00000001,qop=auth,digest-uri="imap/h",response=00000000000000000000000000000000`)
	f.Add(` key , nonce = "N\"" , x="`)
	f.Fuzz(func(t *testing.T, message string) {
		s := &digestServer{nonce: "N"}
		step, err := s.Next([]byte(message))
		if err != nil {
			return
		}
		if step.Action != Fetch || step.Authcid == "" {
			t.Fatalf("%q: %+v", message, step)
		}
		if step, err := s.Credentials(storedDigest("user", "", "the password")); err == nil {
			t.Errorf("%q: %+v", message, step)
		}
		for key := range directives(message) {
			if strings.ContainsAny(key, "=,") {
				t.Errorf("%q: key %q", message, key)
			}
		}
	})
}

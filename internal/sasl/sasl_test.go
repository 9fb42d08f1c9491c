package sasl

import (
	"bytes"
	"errors"
	"testing"
)

// TestClientsMeetServers plays every mechanism against itself, up to where the
// server wants to know something of a database.
func TestClientsMeetServers(t *testing.T) {
	binding := Binding{Name: "tls-exporter", Data: []byte("32 bytes")}
	for i := range mechanisms {
		m := &mechanisms[i]
		if m.NewClient == nil {
			continue
		}
		client := m.NewClient(Credentials{Username: "alice", Password: "secret", Binding: binding})
		server := m.NewServer(Session{Hostname: "host", CertUsername: "alice", Username: "alice", Bindings: []Binding{binding}})
		message, err := client.Start()
		for round := 0; err == nil; round++ {
			var step Step
			if step, err = server.Next(message); err != nil {
				break
			}
			if step.Action == Challenge && round < 5 {
				message, err = client.Next(step.Data)
				continue
			}
			if step.Authcid != "alice" || step.Authzid != "" || (step.Action == Verify && step.Password != "secret") {
				t.Errorf("%s: %+v", m.Name, step)
			}
			break
		}
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

func TestPlain(t *testing.T) {
	tests := []struct {
		message string
		want    Step
		err     error
	}{
		{"\x00alice\x00pw", Step{Action: Verify, Authcid: "alice", Password: "pw"}, nil},
		{"alice\x00alice\x00pw", Step{Action: Verify, Authcid: "alice", Password: "pw"}, nil},
		{"bob\x00alice\x00pw", Step{Action: Verify, Authcid: "alice", Authzid: "bob", Password: "pw"}, nil},
		{"\x00alice\x00", Step{Action: Verify, Authcid: "alice"}, nil},
		{"", Step{}, ErrInvalidInput},
		{"alice\x00pw", Step{}, ErrInvalidInput},
		{"\x00alice\x00pw\x00", Step{}, ErrInvalidInput},
	}
	for _, test := range tests {
		step, err := plainServer{}.Next([]byte(test.message))
		if !errors.Is(err, test.err) || step.Authcid != test.want.Authcid || step.Authzid != test.want.Authzid || step.Password != test.want.Password {
			t.Errorf("%q: %+v, %v", test.message, step, err)
		}
	}
}

// TestCRAMMD5 is the example of RFC 2195 section 2.
func TestCRAMMD5(t *testing.T) {
	challenge := []byte("<1896.697170952@postoffice.reston.mci.net>")
	c := newCRAMMD5Client(Credentials{Username: "tim", Password: "tanstaaftanstaaf"})
	got, err := c.Next(challenge)
	if want := "tim b913a602c7eda7a495b4e6e7334d3890"; err != nil || string(got) != want {
		t.Errorf("client: %q, %v; want %q", got, err, want)
	}
	// The contexts of the password "secret", as Dovecot stores them.
	const stored = "cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56"
	for _, password := range []string{"secret", "wrong"} {
		server := newCRAMMD5Server(Session{Hostname: "host"})
		step, _ := server.Next(nil)
		answer, _ := newCRAMMD5Client(Credentials{Username: "alice", Password: password}).Next(step.Data)
		if step, err = server.Next(answer); err != nil || step.Action != Fetch || step.Authcid != "alice" {
			t.Fatalf("%+v, %v", step, err)
		}
		step, err = server.(CredentialServer).Credentials([]byte(stored))
		if (err == nil) != (password == "secret") || (err == nil && step.Action != Accept) {
			t.Errorf("%s: %+v, %v", password, step, err)
		}
	}
}

// FuzzServers gives every server any two messages.
func FuzzServers(f *testing.F) {
	f.Add([]byte("\x00alice\x00secret"), []byte("secret"))
	f.Add([]byte{}, []byte("alice 00"))
	f.Add([]byte("user=alice\x01auth=Bearer token\x01\x01"), []byte{})
	f.Add([]byte("n,a=alice,\x01host=mail\x01auth=Bearer token\x01\x01"), []byte{1})
	f.Add([]byte("\x00alice"), []byte("hex:5bf075d9959d036f"))
	f.Add([]byte("<1.2.3.x@host>\x00alice\x000123456789abcdef"), []byte{})
	f.Add([]byte("p=tls-unique,,n=alice,r=x"), []byte("c=,r=,p="))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		for i := range mechanisms {
			server := mechanisms[i].NewServer(Session{Hostname: "host", CertUsername: "cert", Username: "anonymous"})
			step, err := server.Next(bytes.Clone(first))
			if err == nil && step.Action == Challenge {
				step, err = server.Next(bytes.Clone(second))
			}
			if err == nil && step.Action == 0 {
				t.Errorf("%s: no action", mechanisms[i].Name)
			}
		}
	})
}

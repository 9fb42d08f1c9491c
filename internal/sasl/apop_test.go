package sasl

import (
	"crypto/md5"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestAPOP(t *testing.T) {
	started := time.Unix(1_700_000_000, 0)
	session := Session{PID: 0x1a2b, Connection: 7, Started: started}
	good := fmt.Sprintf("<1a2b.7.%x.cmFuZG9t@host>", started.Unix()+5)
	for _, tt := range []struct {
		challenge, password string
		err                 error
		text                string
	}{
		{good, "secret", nil, ""},
		{good, "wrong", ErrQuiet, ErrQuiet.Error()},
		{fmt.Sprintf("<1a2b.8.%x.x@host>", started.Unix()), "secret", nil, "invalid challenge"},
		{fmt.Sprintf("<1a2c.7.%x.x@host>", started.Unix()), "secret", nil, "invalid challenge"},
		{fmt.Sprintf("<1a2b.7.%x.x@host>", started.Unix()-1), "secret", nil, "invalid challenge"},
		{"<1a2b.7>", "secret", nil, "invalid challenge"},
		{"", "secret", nil, "invalid challenge"},
	} {
		server := newAPOPServer(session).(CredentialServer)
		sum := md5.Sum([]byte(tt.challenge + tt.password))
		step, err := server.Next(append([]byte(tt.challenge+"\x00alice\x00"), sum[:]...))
		if err == nil {
			if step.Action != Fetch || step.Authcid != "alice" || step.Scheme != "PLAIN" {
				t.Fatalf("%+v", step)
			}
			step, err = server.Credentials([]byte("secret"))
		}
		switch {
		case tt.text == "" && (err != nil || step.Action != Accept):
			t.Errorf("%s %s: %+v %v", tt.challenge, tt.password, step, err)
		case tt.text != "" && (err == nil || err.Error() != tt.text || (tt.err != nil && !errors.Is(err, tt.err))):
			t.Errorf("%s %s: %v, want %s", tt.challenge, tt.password, err, tt.text)
		}
	}
	for _, message := range []string{"\x00", "a\x00b\x00short", "a\x00b\x0001234567890123456"} {
		if _, err := newAPOPServer(session).Next([]byte(message)); err == nil || err.Error() != "malformed data" {
			t.Errorf("%q: %v", message, err)
		}
	}
}

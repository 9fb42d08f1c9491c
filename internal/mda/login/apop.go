package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// An apopAuthenticator is an [Authenticator] that takes challenges which it knows to be
// of its own connection.
type apopAuthenticator interface {
	Connection() (pid, number uint32)
}

// An apopChallenge is what the greeting says for APOP (RFC 1939 7). It is good for the
// connection to the auth server that there was then.
type apopChallenge struct {
	text        string // empty without APOP
	pid, number uint32
}

// newAPOP makes the challenge of a session, if there is APOP.
func (s *Server) newAPOP() (c apopChallenge) {
	auth, ok := s.Auth.(apopAuthenticator)
	if !ok || !s.hasAPOP() {
		return c
	}
	c.pid, c.number = auth.Connection()
	var random [16]byte
	rand.Read(random[:])
	c.text = fmt.Sprintf("<%x.%x.%x.%s@%s>", c.pid, c.number, time.Now().Unix(), base64.StdEncoding.EncodeToString(random[:]), s.host)
	return c
}

func (s *Server) hasAPOP() bool {
	for _, m := range s.Auth.Mechanisms() {
		if m.Name == "APOP" {
			return true
		}
	}
	return false
}

// cmdAPOP serves "APOP NAME DIGEST".
func (pop3) cmdAPOP(ctx context.Context, c *session, args []byte) bool {
	refuse := func(text string) bool {
		if c.set.AuthVerbose {
			c.logf("APOP failed: " + text)
		}
		c.reply("-ERR ", text, ".")
		return true
	}
	if c.apop.text == "" {
		return refuse("APOP not enabled")
	}
	name, digits, _ := bytes.Cut(args, []byte{' '})
	if len(digits) != 32 {
		return refuse("Invalid parameters")
	}
	digest, err := hex.DecodeString(string(digits))
	if err != nil {
		return refuse("Invalid characters in MD5 response")
	}
	if pid, number := c.srv.Auth.(apopAuthenticator).Connection(); pid != c.apop.pid || number != c.apop.number {
		c.finish("Reconnected to auth server, can't do APOP")
		return false
	}
	c.mech = "APOP"
	if f := c.tlsMissing(); f != nil {
		c.protocol.refuse(c, f)
		return true
	}
	message := append([]byte(c.apop.text), 0)
	message = append(append(message, name...), 0)
	return c.exchange(ctx, append(message, digest...), true)
}

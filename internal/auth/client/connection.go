package client

import (
	"encoding/base64"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// Connection returns what names the connection to the server: the server's process id and
// its number of the connection. Challenges of APOP have to begin with them.
func (c *Client) Connection() (pid, number uint32) {
	if h := c.link.lastHandshake(); h != nil {
		hello := h.(*clientHandshake)
		return hello.pid, hello.number
	}
	return 0, 0
}

// appendBindings tells our own server about the client's TLS connection.
func appendBindings(b []byte, bindings []sasl.Binding) []byte {
	for _, binding := range bindings {
		b = wire.AppendField(b, "channel_binding", binding.Name+":"+base64.StdEncoding.EncodeToString(binding.Data))
	}
	return b
}

package lmtp

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// appendHeader appends the lines that stand in front of a delivered message:
// Return-Path, Delivered-To if there is one recipient only, so that nobody
// learns of the others, and Received.
func (c *session) appendHeader(b []byte) []byte {
	m := c.mail
	b = append(b, "Return-Path: <"...)
	b = smtp.AppendAddress(b, m.sender)
	b = append(b, ">\r\n"...)
	if to := c.deliveryAddress(); to != "" {
		b = append(append(append(b, "Delivered-To: "...), to...), "\r\n"...)
	}
	m.receivedAt = int64(len(b))
	if c.srv.set.AddReceivedHeader {
		b = c.appendReceived(b)
	}
	return b
}

// deliveryAddress is what lmtp_hdr_delivery_address asks for.
func (c *session) deliveryAddress() string {
	if len(c.mail.rcpts) != 1 {
		return ""
	}
	switch c.srv.set.HdrDeliveryAddress {
	case "final":
		return c.mail.rcpts[0].address
	case "original":
		return printable(c.mail.rcpts[0].orcpt)
	}
	return ""
}

// printable returns s unless it could break the header.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return ""
		}
	}
	return s
}

func (c *session) appendReceived(b []byte) []byte {
	m := c.mail
	b = append(b, "Received:"...)
	if c.helo != "" {
		b = append(append(b, " from "...), c.helo...)
	}
	if c.remote.IsValid() {
		b = append(b, " (["...)
		if c.remote.Addr().Is6() {
			b = append(b, "IPv6:"...)
		}
		b = c.remote.Addr().AppendTo(b)
		b = append(b, "])"...)
	}
	b = append(b, "\r\n"...)
	protocol := "LMTP"
	if c.tls != nil {
		b = append(append(append(b, "\t(using "...), c.tlsSession...), ")\r\n"...)
		protocol = "LMTPS"
	}
	b = append(append(append(append(b, "\tby "...), c.srv.host...), " with "...), protocol...)
	b = append(append(b, "\r\n\tid "...), m.id...)
	b = append(b, "\r\n\t(envelope-from <"...)
	b = append(smtp.AppendAddress(b, m.sender), ">)"...)
	if len(m.rcpts) == 1 {
		b = append(append(append(b, "\r\n\tfor <"...), m.rcpts[0].address...), '>')
	}
	b = append(b, "; "...)
	b = time.Now().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

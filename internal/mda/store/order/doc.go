// Package order sorts messages by what they say of themselves (RFC 5256, RFC 5957).
package order

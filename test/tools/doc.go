// Package tools tests what administrators and senders see of the mail system
// besides mail: the commands of the binary, and notifications. Where the
// original is at hand both get the same work and must say the same.
package tools

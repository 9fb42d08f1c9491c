// Package interop tests that mail flows through Dovetail, through the real
// Dovecot and Postfix, and through any mixture of their halves, and that usual
// clients work with each.
package interop

// Package dovecot reads the configuration of Dovecot 2.3.
package dovecot

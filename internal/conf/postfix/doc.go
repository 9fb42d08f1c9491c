// Package postfix reads the configuration of Postfix 3.
package postfix

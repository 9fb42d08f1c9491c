// Package screen has clients tested by postscreen in a running service: what they earn lasts over reloads, restarts, and
// changes from Postfix to this program and back.
package screen

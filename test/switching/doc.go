// Package switching tests the switch from Postfix to Dovetail and back with mail in
// the queue: the real Postfix is stopped with messages of every kind waiting,
// Dovetail takes them over, gives them back, and in the end each recipient has
// the message once, byte for byte.
package switching

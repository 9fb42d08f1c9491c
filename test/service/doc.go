// Package service tests Dovetail as an administrator lives with it: what its
// processes may do, what happens when one dies, reload, start and stop, mistakes
// in the configuration, and clients that misbehave. Where the real Dovecot and
// Postfix show what is right, they run on the same files.
package service

// Package packaging has what the rpm and deb packages install besides the
// programs.
//
//	etc/                    configuration files, with the names, settings, order and
//	                        defaults of those in RHEL 9 (dovecot 2.3.16, postfix 3.5)
//	usr/share/doc/dovecot/  examples of files that hold passwords
//
// Reinstalling a package does not overwrite files in etc/ that were changed;
// it does bring back those that are gone. They are what an administrator edits, and
// scripts: a setting that is commented out there must be here too, in the same
// place and with the same text. The comments are ours.
package packaging

import "embed"

// Files are the installed files, by their path without the first slash.
//
//go:embed etc usr
var Files embed.FS

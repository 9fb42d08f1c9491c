package dovecot

// Glob lists the files that an !include pattern names, in order.
func Glob(pattern string) []string { return glob(pattern) }

// Package flavor knows the defaults in which a distribution's Dovecot and Postfix
// differ from what their authors publish.
//
// Packages are compiled with other directories, with patches, or from another
// version, and "doveconf -n" and "postconf -n" show what differs from the
// defaults of that build. Dovetail is built for one flavor (make FLAVOR=rhel9)
// so that its tools print what those of the replaced packages printed.
//
// The defaults are in flavors.tsv, whose head says how they were found. Each
// line is "program, flavor, setting, default", separated by tabs, with the
// default written as doveconf and postconf print it.
package flavor

import (
	_ "embed"
	"strings"
	"sync"
)

// Name is the flavor of this binary: upstream, rhel9 or debian. The linker sets
// it; a test may set it before settings are first looked at.
var Name = "upstream"

//go:embed flavors.tsv
var table string

type key struct{ program, flavor, setting string }

var defaults = sync.OnceValue(func() map[key]string {
	m := make(map[key]string)
	for row := range strings.Lines(table) {
		if row[0] == '#' {
			continue
		}
		col := strings.SplitN(strings.TrimSuffix(row, "\n"), "\t", 4)
		m[key{col[0], col[1], col[2]}] = col[3]
	}
	return m
})

// Dovecot returns the default of the setting with that path ("base_dir",
// "service/imap/process_limit") in the flavor, if it is not upstream's.
func Dovecot(path string) (def string, ok bool) { return In(Name, "dovecot", path) }

// Postfix returns the default of the parameter in the flavor, if it is not
// upstream's.
func Postfix(name string) (def string, ok bool) { return In(Name, "postfix", name) }

// In returns the default of a setting of dovecot or postfix in another flavor.
func In(flavor, program, setting string) (def string, ok bool) {
	def, ok = defaults()[key{program, flavor, setting}]
	return def, ok
}

// Names returns the flavors that exist, upstream first.
func Names() []string { return []string{"upstream", "rhel9", "debian"} }

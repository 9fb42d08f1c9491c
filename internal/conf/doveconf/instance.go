package doveconf

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// instancesPath is where masters write down their names: lines of last use, name, base_dir and
// configuration file, separated by tabs.
func instancesPath() string { return dovecot.DefaultOf("state_dir") + "/instances" }

// InstancePath finds the configuration file of an instance of the service, for
// the other commands that have the option -i.
func InstancePath(name string) (string, bool) {
	r := &run{stderr: io.Discard}
	return r.instancePath(name)
}

// instancePath finds the configuration file of an instance.
func (r *run) instancePath(name string) (string, bool) {
	text, err := os.ReadFile(instancesPath())
	if err != nil && !os.IsNotExist(err) {
		r.error(fmt.Errorf("open(%s) failed: %s", instancesPath(), errnoText(err.(*os.PathError).Err)))
	}
	for line := range strings.Lines(string(text)) {
		col := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(col) < 3 {
			r.error(fmt.Errorf("Invalid line in %s: %s", instancesPath(), strings.TrimSuffix(line, "\n")))
			continue
		}
		if tabUnescape(col[1]) == name {
			return tabUnescape(col[2]) + "/dovecot.conf", true
		}
	}
	return "", false
}

// tabUnescape undoes Dovecot's escaping of control characters.
func tabUnescape(s string) string {
	return strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n").Replace(s)
}

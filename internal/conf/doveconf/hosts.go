package doveconf

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"strings"
)

// hashSize is how many bytes of a host name's hash are part of the GUIDs that
// Dovecot makes on it.
const hashSize = 4

// A hostPattern stands for the names of the hosts of a cluster.
type hostPattern struct {
	prefix, suffix string
	digits         int
	zeros          bool // numbers have leading zeros
}

func (p hostPattern) name(n int) string {
	if p.zeros {
		return fmt.Sprintf("%s%0*d%s", p.prefix, p.digits, n, p.suffix)
	}
	return fmt.Sprintf("%s%d%s", p.prefix, n, p.suffix)
}

// verifyHosts is -H: it checks that no two hosts would make the same GUIDs.
func (r *run) verifyHosts() int {
	var p hostPattern
	var err error
	if len(r.args) > 0 {
		p, err = parseHostPattern(r.args[0])
	} else {
		p, err = guessHostPattern(hostname())
	}
	if err != nil {
		return r.fatal(err)
	}
	limit := 1
	for range p.digits {
		limit *= 10
	}
	seen := make(map[[hashSize]byte]int, limit)
	status := 0
	for n := range limit {
		sum := sha1.Sum([]byte(p.name(n)))
		hash := [hashSize]byte(sum[len(sum)-hashSize:])
		if first, ok := seen[hash]; ok {
			r.error(fmt.Errorf("Duplicate host hashes: %s and %s", p.name(first), p.name(n)))
			status = exitConfig
			continue
		}
		seen[hash] = n
	}
	if status == 0 {
		fmt.Fprintf(r.stdout, "No duplicate host hashes in %s .. %s\n", p.name(0), p.name(limit-1))
	}
	return status
}

// parseHostPattern reads host%d, host%2d or host%02d.
func parseHostPattern(s string) (p hostPattern, err error) {
	prefix, rest, ok := strings.Cut(s, "%")
	p = hostPattern{prefix: prefix, digits: 1}
	if rest != "" && rest[0] == '0' {
		p.zeros, rest = true, rest[1:]
	}
	if rest != "" && '0' <= rest[0] && rest[0] <= '9' {
		p.digits, rest = int(rest[0]-'0'), rest[1:]
	}
	if p.suffix, ok = cutPrefix(rest, "d", ok); !ok {
		return p, errors.New("Host parameter missing %d")
	}
	if p.digits > 7 {
		return p, errors.New("Host parameter has too many digits, 7 are enough")
	}
	return p, nil
}

func cutPrefix(s, prefix string, before bool) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	return rest, ok && before
}

// guessHostPattern takes the last number in a host name for the one that varies.
func guessHostPattern(name string) (hostPattern, error) {
	end := strings.LastIndexAny(name, "0123456789") + 1
	start := end
	for start > 0 && '0' <= name[start-1] && name[start-1] <= '9' {
		start--
	}
	if start == end {
		return hostPattern{}, fmt.Errorf("Hostname '%s' has no digits, can't verify", name)
	}
	if end-start > 7 {
		start = end - 7
	}
	return hostPattern{name[:start], name[end:], end - start, name[start] == '0'}, nil
}

// hostname is the name by which Dovecot knows this host.
func hostname() string {
	if name := os.Getenv("DOVECOT_HOSTNAME"); name != "" {
		return name
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

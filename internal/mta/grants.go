package mta

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
)

// Grants are the files that the master opens for the mta: those that main.cf and
// the overrides of master.cf name as a lookup table, as a file of list items, or
// as a certificate, key or list of authorities. They are worked out from the
// configuration when it is read, never from what the mta asks for.
type Grants struct {
	paths map[string]bool
	owner master.Identity // of the mta
}

// NewGrants returns what a configuration names. owner is who the mta is.
func NewGrants(main *postfix.Main, services *postfix.Master, owner master.Identity) *Grants {
	g := &Grants{paths: make(map[string]bool), owner: owner}
	g.add(main, nil)
	for i := range services.Services {
		if o := services.Services[i].Overrides; len(o) > 0 {
			g.add(main.With(o), o)
		}
	}
	return g
}

// add adds what the values of all parameters name: those that are known, those
// that are overridden, and the restriction classes. What cannot be expanded names
// nothing; who uses it says why.
func (g *Grants) add(main *postfix.Main, overrides map[string]string) {
	g.addSASL(main)
	names := postfix.SplitList(expanded(main, "smtpd_restriction_classes"))
	for _, p := range postfix.Params() {
		names = append(names, p.Name)
	}
	for name := range overrides {
		names = append(names, name)
	}
	for _, name := range names {
		value := expanded(main, name)
		g.addTables(value)
		if plainFiles[name] {
			g.addFiles(value)
		}
	}
}

func expanded(main *postfix.Main, name string) string {
	value, _, err := main.Expand(name)
	if err != nil {
		return ""
	}
	return value
}

// tableFile finds the tables in a value that are files, also within proxy:,
// pipemap: and unionmap:.
var tableFile = regexp.MustCompile(`(?:^|[\s,:{!])(hash|btree|lmdb|cdb|dbm|sdbm|texthash|regexp|pcre|cidr|ldap|mysql|pgsql|sqlite|memcache|mongodb):(/[^\s,{}]+)`)

// indexFiles are the endings of the files that tables have beside their source.
var indexFiles = map[string][]string{
	"hash": {".db"}, "btree": {".db"}, "lmdb": {".lmdb"}, "cdb": {".cdb"},
	"dbm": {".dir", ".pag"}, "sdbm": {".dir", ".pag"},
}

// addSASL adds the configuration of the Cyrus SASL application, where that is used.
func (g *Grants) addSASL(main *postfix.Main) {
	if expanded(main, "smtpd_sasl_auth_enable") != "yes" || expanded(main, "smtpd_sasl_type") != "cyrus" {
		return
	}
	for _, path := range smtpd.CyrusFiles(expanded(main, "cyrus_sasl_config_path"), main.Dir(), expanded(main, "smtpd_sasl_path")) {
		g.paths[path] = true
	}
}

func (g *Grants) addTables(value string) {
	for _, m := range tableFile.FindAllStringSubmatch(value, -1) {
		g.paths[m[2]] = true
		for _, ending := range indexFiles[m[1]] {
			g.paths[m[2]+ending] = true
		}
	}
}

func (g *Grants) addFiles(value string) {
	for _, word := range postfix.SplitList(value) {
		if word = strings.TrimLeft(word, "!"); filepath.IsAbs(word) {
			g.paths[word] = true
		}
	}
}

// plainFiles are the parameters in which a bare path is a file to be read.
var plainFiles = func() map[string]bool {
	all := make(map[string]bool)
	for _, program := range []string{"smtpd", "smtp", "lmtp", "tlsproxy"} {
		for _, end := range []string{"cert_file", "key_file", "dcert_file", "dkey_file", "eccert_file", "eckey_file", "chain_files", "CAfile"} {
			all[program+"_tls_"+end] = true
		}
	}
	for _, list := range []string{
		"mydestination", "mynetworks", "relay_domains", "virtual_alias_domains", "virtual_mailbox_domains",
		"smtpd_authorized_verp_clients", "smtpd_authorized_xclient_hosts", "smtpd_authorized_xforward_hosts",
		"smtpd_client_event_limit_exceptions", "smtpd_forbid_bare_newline_exclusions", "smtpd_sasl_exceptions_networks",
		"smtpd_forbidden_commands", "smtpd_noop_commands", "smtpd_sasl_mechanism_filter", "smtp_sasl_mechanism_filter",
		"debug_peer_list", "fast_flush_domains", "masquerade_exceptions", "authorized_submit_users", "authorized_flush_users", "authorized_mailq_users",
	} {
		all[list] = true
	}
	return all
}()

// Serve answers a message of the mta process. It reports whether the message was
// about files.
func (g *Grants) Serve(c *master.Child, msg *master.Message) bool {
	if msg.Kind != kindOpen {
		return false
	}
	var request openRequest
	if err := msg.Decode(&request); err != nil {
		return true // no answer can name it
	}
	answer := openAnswer{ID: request.ID}
	f, err := g.open(request.Path)
	switch {
	case err == nil:
		defer f.Close()
		c.Send(kindOpened, &answer, f) //nolint:errcheck // if the process is gone nobody waits
		return true
	case !errors.As(err, &answer.Errno):
		answer.Error = err.Error()
	}
	c.Send(kindOpened, &answer) //nolint:errcheck // as above
	return true
}

// errNotNamed is the answer to a request for any other file.
var errNotNamed = errors.New("Permission denied, and the configuration does not name it as a table")

func (g *Grants) open(path string) (*os.File, error) {
	if !g.paths[path] {
		return nil, errNotNamed
	}
	if err := g.trusted(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	return f, nil
}

// maxLinks bounds the symbolic links on the way to a file.
const maxLinks = 40

// trusted refuses a path that the mta could make lead elsewhere, so that it gets
// nothing by that which it was not meant to have. Others who own a part of
// the path are the administrator's choice.
func (g *Grants) trusted(path string) error {
	if !g.owner.Change {
		return nil // everything is one user's
	}
	for range maxLinks {
		next, err := g.walk(filepath.Clean(path))
		if err != nil || next == "" {
			return err
		}
		path = next
	}
	return syscall.ELOOP
}

// walk checks each component of a path. Where one is a symbolic link it returns
// the path that is meant.
func (g *Grants) walk(path string) (next string, err error) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	at := "/"
	for i, part := range parts {
		at = filepath.Join(at, part)
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); err != nil {
			return "", err
		}
		last := i == len(parts)-1
		if g.mayChange(&st, last) {
			return "", fmt.Errorf("Permission denied, and the user of the mail system could replace %s", at)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			target, err := os.Readlink(at)
			if err != nil {
				return "", err
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(at), target)
			}
			return filepath.Join(append([]string{target}, parts[i+1:]...)...), nil
		}
	}
	return "", nil
}

// mayChange reports whether the mta could put something else in this place: what
// it owns, and directories that it may write to. A file that is written to stays
// that file.
func (g *Grants) mayChange(st *unix.Stat_t, last bool) bool {
	if int(st.Uid) == g.owner.UID {
		return true
	}
	if last || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&unix.S_ISVTX != 0 {
		return false
	}
	if st.Mode&0o002 != 0 {
		return true
	}
	if st.Mode&0o020 == 0 {
		return false
	}
	for _, gid := range append(g.owner.Groups, g.owner.GID) {
		if int(st.Gid) == gid {
			return true
		}
	}
	return false
}

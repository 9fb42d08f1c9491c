package db

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

// Settings are those of dovecot.conf that drivers use beside their args.
type Settings struct {
	BaseDir         string            `set:"base_dir" default:"/var/run/dovecot" path:"yes" doc:"run time directory of sockets and the PID file"`
	Dicts           map[string]string `set:"dict" doc:"named dictionaries: name = driver:arguments, used by proxy::name"`
	SSLClientCADir  string            `set:"ssl_client_ca_dir" path:"yes" doc:"CA directory for outgoing TLS"`
	SSLClientCAFile string            `set:"ssl_client_ca_file" path:"yes" doc:"CA file for outgoing TLS"`
}

var _ = dovecot.Register("auth", Settings{})

// CollectFiles reads the files that a driver needs and that may be only for root. One
// that is missing is left to the driver to complain about.
func (s *Settings) CollectFiles(files ext.Files, driver, args string) error {
	path := args
	switch driver {
	case "ldap", "sql", "dict", "oauth2":
	case "lua":
		return collectScript(files, args)
	default:
		return nil
	}
	if path == "" || files[path] != nil {
		return nil
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := files.Collect(path); err != nil || driver != "dict" {
		return err
	}
	set, err := ext.LoadDict(files, path, func(string) {})
	if err != nil {
		return nil // the driver says why
	}
	return dict.CollectFiles(files, *set.URI, s.Dicts)
}

// maxScript is the size of the largest Lua script.
const maxScript = 16 << 20

// collectScript reads the script that the args of lua name.
func collectScript(files ext.Files, args string) error {
	for word := range strings.FieldsSeq(args) {
		path, ok := strings.CutPrefix(word, "file=")
		if !ok {
			continue
		}
		st, err := os.Stat(path)
		switch {
		case err != nil || !st.Mode().IsRegular():
			continue
		case st.Size() > maxScript:
			return fmt.Errorf("Lua script %s is larger than %d bytes", path, maxScript)
		}
		if files[path], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	return nil
}

// LinkReplyProgram makes the link in base_dir by which checkpassword programs find
// the program that answers for them.
func (s *Settings) LinkReplyProgram() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(s.BaseDir, ReplyProgram)
	if have, err := os.Readlink(path); err == nil && have == exe {
		return nil
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(exe, temp); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

package dict

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

// What all keys begin with.
const (
	Shared  = "shared/"
	Private = "priv/"
)

// ErrNotFound says that there is no such key.
var ErrNotFound = errors.New("key not found")

// errUnsupported is Dovecot's word for what a driver cannot do.
var errUnsupported = errors.New("Unsupported operation (dict does not support this feature)")

// A User is on whose behalf a dictionary is used.
type User struct {
	Name string // whose private keys are meant
	Home string // for "~/" in paths
}

// A Dict is an open dictionary. Its methods may be called concurrently.
type Dict interface {
	// Lookup returns the value of a key; ErrNotFound if there is none.
	Lookup(ctx context.Context, user User, key string) (string, error)
	Close() error
}

// A Query selects keys by their beginning.
type Query struct {
	Prefix  string
	Recurse bool // also keys that have a "/" after Prefix
	NoValue bool // only the keys are of interest
}

// matches reports whether a key is selected.
func (q *Query) matches(key string) bool {
	rest, ok := strings.CutPrefix(key, q.Prefix)
	return ok && (q.Recurse || !strings.Contains(rest, "/"))
}

// An Iterator is a Dict that lists keys.
type Iterator interface {
	Dict
	// Iterate calls fn with each key selected until it returns false.
	Iterate(ctx context.Context, user User, q Query, fn func(key, value string) bool) error
}

// A Committer is a Dict that can be changed.
type Committer interface {
	Dict
	// Commit makes all the changes or none. It returns ErrNotFound, having made the
	// others, if a key to be increased does not exist.
	Commit(ctx context.Context, user User, changes []Change) error
}

// Iterate lists the keys of d, if it can.
func Iterate(ctx context.Context, d Dict, user User, q Query, fn func(key, value string) bool) error {
	i, ok := d.(Iterator)
	if !ok {
		return errUnsupported
	}
	if err := checkKey(user, q.Prefix); err != nil {
		return err
	}
	return i.Iterate(ctx, user, q, fn)
}

// Lookup is d.Lookup for a key that may be wrong.
func Lookup(ctx context.Context, d Dict, user User, key string) (string, error) {
	if err := checkKey(user, key); err != nil {
		return "", err
	}
	return d.Lookup(ctx, user, key)
}

// checkKey refuses keys that no driver could know.
func checkKey(user User, key string) error {
	switch {
	case strings.HasPrefix(key, Shared):
		return nil
	case !strings.HasPrefix(key, Private):
		return fmt.Errorf("key %q begins neither with %s nor with %s", key, Shared, Private)
	case user.Name == "":
		return fmt.Errorf("key %q needs a user", key)
	}
	return nil
}

// An Env is what dictionaries of one process share.
type Env struct {
	BaseDir string            // where the socket of the dict service is
	Named   map[string]string // section dict { }: URIs by name
	Files   ext.Files         // read by a process that may
	Warn    func(text string) // gets what is odd about a file of settings
}

// A driver opens a dictionary with what follows its name in the URI.
type driver func(env *Env, params string) (Dict, error)

// drivers are those that any URI may name, servedDrivers those of the dict { }
// section alone, as in Dovecot, where only the dict service has them. A nil one is of
// Dovecot, but not supported.
var (
	drivers       map[string]driver
	servedDrivers map[string]driver
)

func init() { // a table would refer to itself: proxy opens others
	drivers = map[string]driver{
		"file":            openFile,
		"fs":              openFS,
		"memcached":       nil,
		"memcached_ascii": nil,
		"proxy":           openProxy,
		"redis":           openRedis,
	}
	servedDrivers = map[string]driver{
		"cassandra": nil,
		"cdb":       nil,
		"ldap":      nil,
		"mysql":     openSQL("mysql"),
		"pgsql":     openSQL("pgsql"),
		"sqlite":    openSQL("sqlite"),
	}
}

// Open opens the dictionary that a URI names.
func Open(env *Env, uri string) (Dict, error) {
	return open(env, uri, drivers)
}

func open(env *Env, uri string, tables ...map[string]driver) (Dict, error) {
	name, params, ok := strings.Cut(uri, ":")
	if !ok {
		return nil, fmt.Errorf("Dictionary URI is missing ':': %s", uri)
	}
	for _, table := range tables {
		open, known := table[name]
		switch {
		case !known:
			continue
		case open == nil:
			return nil, fmt.Errorf("dict module %s is not supported by Dovetail", name)
		}
		d, err := open(env, params)
		if err != nil {
			return nil, fmt.Errorf("dict %s: %w", name, err)
		}
		return d, nil
	}
	return nil, fmt.Errorf("Unknown dict module: %s", name)
}

// CollectFiles reads the files of settings that the dictionary of a URI needs, for a process
// that may not. One that is missing is left to [Open] to complain about.
func CollectFiles(files ext.Files, uri string, named map[string]string) error {
	name, params, _ := strings.Cut(uri, ":")
	if name == "proxy" {
		_, dict, _ := cutProxy(params)
		uri = named[dict]
		name, params, _ = strings.Cut(uri, ":")
	}
	if servedDrivers[name] == nil || files[params] != nil {
		return nil
	}
	if _, err := os.Stat(params); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return files.Collect(params)
}

// openProxy opens a dictionary of the section dict { }. Dovecot asks its dict service
// by a socket; here whoever asks opens it.
func openProxy(env *Env, params string) (Dict, error) {
	socket, name, ok := cutProxy(params)
	if !ok {
		return nil, fmt.Errorf("Invalid URI: %s", params)
	}
	if !filepath.IsAbs(socket) {
		socket = filepath.Join(env.BaseDir, socket)
	}
	if own := filepath.Join(env.BaseDir, "dict"); socket != own && socket != env.BaseDir {
		return nil, fmt.Errorf("dictionaries of another server (%s) are not supported by Dovetail; name one of this configuration (proxy::%s)", socket, name)
	}
	uri, ok := env.Named[name]
	if !ok {
		return nil, fmt.Errorf("Unconfigured dictionary name '%s'", name)
	}
	return open(env, uri, drivers, servedDrivers)
}

// cutProxy takes "[SOCKET]:NAME" apart.
func cutProxy(params string) (socket, name string, ok bool) {
	for {
		socket, name, ok = strings.Cut(params, ":")
		if !strings.HasPrefix(socket, "idle_msecs=") && !strings.HasPrefix(socket, "warn_slow_msecs=") {
			return socket, name, ok
		}
		params = name // they are about connections that there are not
	}
}

// Escape makes a component of a key of text.
func Escape(text string) string { return escaper.Replace(text) }

var escaper = strings.NewReplacer(`\`, `\\`, "/", `\|`)

// Unescape undoes [Escape].
func Unescape(component string) string {
	if !strings.Contains(component, `\`) {
		return component
	}
	var b strings.Builder
	for i := 0; i < len(component); i++ {
		c := component[i]
		if c == '\\' {
			if i++; i == len(component) {
				break
			}
			if c = component[i]; c == '|' {
				c = '/'
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

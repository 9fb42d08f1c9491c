package db

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Env is what all databases of one server share.
type Env struct {
	Log *maillog.Logger // nil where the configuration is only checked

	FirstValidUID, LastValidUID uint32 // of users that passwd lists
	PasswdFile                  string // instead of /etc/passwd

	ExtFiles ext.Files // read by a process that may
	Settings Settings
	// System asks the C library; nil where that is not there, and /etc/passwd is
	// all that is known of the system's users.
	System *system.Client

	unused map[string]string // settings of files for a userdb that there may not be, by path

	files fileCache
	sql   sqlPools
	ldap  directories
	dicts dicts
	lua   luaScripts
}

// Close ends the connections of the databases. What is asked afterwards fails.
func (env *Env) Close() {
	env.sql.close()
	env.ldap.close()
	env.dicts.close()
	env.lua.close()
	if env.System != nil {
		env.System.Close()
	}
}

// setUnused notes a query for a userdb in the file of an SQL database.
func (env *Env) setUnused(path, setting string) {
	if env.unused == nil {
		env.unused = make(map[string]string)
	}
	env.unused[path] = setting
}

// WarnUnused tells, when all databases are open, of queries for userdbs that are not there.
func (env *Env) WarnUnused() {
	for _, path := range slices.Sorted(maps.Keys(env.unused)) {
		env.warn(fmt.Sprintf("sql: Ignoring changed %s in %s, because userdb sql not used. "+
			"(If this is intentional, set userdb_warning_disable=yes)", env.unused[path], path))
	}
}

// warn logs what is odd about a file of settings.
func (env *Env) warn(text string) {
	if env.Log != nil {
		env.Log.Warningf("%s", text)
	}
}

// A PassdbDriver opens a passdb with the args of its section.
type PassdbDriver func(env *Env, args string) (Passdb, error)

// A UserdbDriver opens a userdb with the args of its section.
type UserdbDriver func(env *Env, args string) (Userdb, error)

// The drivers by name. A nil one is of Dovecot, but not supported.
var (
	passdbDrivers = map[string]PassdbDriver{
		"passwd":        openPasswdPassdb,
		"passwd-file":   openFilePassdb,
		"static":        openStaticPassdb,
		"bsdauth":       nil,
		"checkpassword": openCheckpasswordPassdb,
		"dict":          openDictPassdb,
		"imap":          openIMAP,
		"ldap":          openLDAPPassdb,
		"lua":           openLuaPassdb,
		"oauth2":        openOAuth2,
		"pam":           openPAM,
		"shadow":        openShadow,
		"sql":           openSQLPassdb,
	}
	userdbDrivers = map[string]UserdbDriver{
		"passwd":        openPasswdUserdb,
		"passwd-file":   openFileUserdb,
		"prefetch":      openPrefetch,
		"static":        openStaticUserdb,
		"checkpassword": openCheckpasswordUserdb,
		"dict":          openDictUserdb,
		"ldap":          openLDAPUserdb,
		"lua":           openLuaUserdb,
		"sql":           openSQLUserdb,
	}
)

// OpenPassdb opens the database of a passdb section.
func OpenPassdb(env *Env, driver, args string) (Passdb, error) {
	open, known := passdbDrivers[driver]
	switch {
	case !known:
		return nil, fmt.Errorf("Unknown passdb driver '%s'", driver)
	case open == nil:
		return nil, fmt.Errorf("Support not compiled in for passdb driver '%s'", driver)
	}
	return open(env, args)
}

// OpenUserdb opens the database of a userdb section.
func OpenUserdb(env *Env, driver, args string) (Userdb, error) {
	open, known := userdbDrivers[driver]
	switch {
	case !known:
		return nil, fmt.Errorf("Unknown userdb driver '%s'", driver)
	case open == nil:
		return nil, fmt.Errorf("Support not compiled in for userdb driver '%s'", driver)
	}
	return open(env, args)
}

package db

import (
	"net/netip"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Request is a login or lookup of one user: what is known of it, and
// what the databases add.
type Request struct {
	User         string // normalized; databases may change it
	OriginalUser string // as the client sent it
	MasterUser   string // who logs in as User, if not User
	LoginUser    string // as whom MasterUser wants to log in, until that was allowed
	Password     string // tried, for %w
	Scheme       string // of the password that Fetch should get; empty for any

	Service    string
	Session    string
	LocalName  string
	ClientID   string
	Mechanism  string // empty for lookups
	Secured    string // "", "secured" or "TLS"
	Local      netip.AddrPort
	Remote     netip.AddrPort
	RealLocal  netip.AddrPort
	RealRemote netip.AddrPort
	ClientPID  uint32
	SessionPID uint32
	ValidCert  bool

	Fields Fields // of the passdbs
	Userdb Fields // of the userdbs, and of the passdbs for them

	Failed         bool      // a field refuses the login
	NoPassword     bool      // the passdb takes any password
	NoAuthenticate bool      // the passdb only adds fields
	DelayUntil     time.Time // answer not before
	HasUserdb      bool      // the passdbs gave userdb fields
	TempFail       bool      // the userdb refuses to answer now

	Section string // name of the database asked, for log lines and %!
	Number  int    // of that database
	Verbose bool   // failures are logged
	Debug   bool   // everything is

	DebugPasswords bool // also passwords
	Log            *maillog.Logger

	// OpenIDConfiguration is the URL of a document that says where tokens come from, for
	// clients whose token was refused.
	OpenIDConfiguration string

	saved  saved
	answer answer
	stored string // password that the passdb asked has given so far
}

// saved is what a database that refuses the login must not have changed.
type saved struct {
	loginUser string
	hasUserdb bool
}

// Begin is called before the first passdb is asked: the fields of the client stay.
func (r *Request) Begin() {
	r.Fields.Save()
	r.saved = saved{r.LoginUser, r.HasUserdb}
}

// Enter is called before each passdb is asked.
func (r *Request) Enter() { r.stored = "" }

// Save keeps the request as it is for [Request.Rollback]: a passdb has accepted it.
func (r *Request) Save() {
	r.Fields.Save()
	r.Userdb.Save()
	r.saved = saved{r.LoginUser, r.HasUserdb}
}

// Rollback undoes what a database has done to the request since the last Save.
// The user's name stays changed, as in Dovecot.
func (r *Request) Rollback() {
	r.Fields.Rollback()
	r.Userdb.Rollback()
	r.LoginUser, r.HasUserdb = r.saved.loginUser, r.saved.hasUserdb
}

// Prefix returns what starts the log lines about the request:
// "NAME(USER,IP,master,<SESSION>): ".
func (r *Request) Prefix(name string) string {
	user := r.User
	if user == "" {
		user = "?"
	}
	text := name + "(" + user
	if r.Remote.Addr().IsValid() {
		text += "," + r.Remote.Addr().String()
	}
	if r.LoginUser != "" {
		text += ",master"
	}
	if r.Session != "" {
		text += ",<" + r.Session + ">"
	}
	return text + "): "
}

// Errorf logs an error of the database asked.
func (r *Request) Errorf(format string, args ...any) {
	r.Log.Errorf("%s"+format, append([]any{r.Prefix(r.Section)}, args...)...)
}

// Infof logs, with auth_verbose=yes, why a login fails.
func (r *Request) Infof(format string, args ...any) {
	if r.Verbose {
		r.Log.Infof("%s"+format, append([]any{r.Prefix(r.Section)}, args...)...)
	}
}

// Debugf logs, with auth_debug=yes, what goes on.
func (r *Request) Debugf(format string, args ...any) {
	if r.Debug {
		r.Log.Debugf("%s"+format, append([]any{r.Prefix(r.Section)}, args...)...)
	}
}

package table

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A Table answers lookups. An error is temporary. Tables are safe for
// concurrent use.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// A Pattern table matches whole keys; it is not asked for parts of them.
type Pattern interface {
	Table
	pattern()
}

// A Walker is a table whose records can be listed, in the table's order.
type Walker interface {
	Walk(fn func(key, value string) error) error
}

// A Closer is a table that holds something open.
type Closer interface{ Close() error }

// Options of opening tables.
type Options struct {
	Log *maillog.Logger // warnings about the table's content
	// NoSubstitution skips rules with $1 in their result: for tables that
	// name programs, files or transports.
	NoSubstitution bool
	// NoFold keeps the case of keys.
	NoFold bool
	// UTF8 makes keys and values UTF-8 (smtputf8_enable): what is not is no key, and
	// letters of all scripts fold to lower case. Main turns it on if it says so.
	UTF8 bool
	// Main is the configuration: for tables that are described there, and the list of
	// those that "proxy:" may open. Without it neither can be opened.
	Main *postfix.Main
	// Files makes values what the files hold that they name (postmap -F).
	Files bool
	// Open opens the files of tables; nil is [os.Open]. A process without
	// privileges can have another open for it what the configuration names.
	Open func(name string) (*os.File, error)
}

func (o *Options) warnf(format string, args ...any) { o.Log.Warningf(format, args...) }

// A kind is a table type.
type kind struct {
	name string
	open func(spec, name string, o *Options) (Table, error)
}

// kinds are the table types, by name. It is filled in init because some types
// hold tables of other types.
var kinds []kind

func init() {
	kinds = []kind{
		{"btree", openIndex("btree")},
		{"cdb", openIndex("cdb")},
		{"cidr", openCIDR},
		{"debug", openDebug},
		{"environ", openEnviron},
		{"fail", openFail},
		{"hash", openIndex("hash")},
		{"inline", openInline},
		{"internal", openInternal},
		{"ldap", openLDAP},
		{"lmdb", openIndex("lmdb")},
		{"memcache", openMemcache},
		{"mysql", openSQL("mysql")},
		{"pcre", openPCRE},
		{"pgsql", openSQL("pgsql")},
		{"pipemap", openPipemap},
		{"proxy", openProxy},
		{"randmap", openRandmap},
		{"regexp", openRegexp},
		{"socketmap", openSocketmap},
		{"sqlite", openSQL("sqlite")},
		{"static", openStatic},
		{"tcp", openTCP},
		{"texthash", openTexthash},
		{"unionmap", openUnionmap},
		{"unix", openUnix},
	}
}

// Types returns the names of all table types, sorted, as `postconf -m` lists them.
func Types() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// refused are types of Postfix that there will not be, and what to do instead.
var refused = map[string]error{
	"dbm":     refuse("dbm", "hash"),
	"sdbm":    refuse("sdbm", "hash"),
	"nis":     refuse("nis", "ldap"),
	"nisplus": refuse("nisplus", "ldap"),
	"mongodb": refuse("mongodb", "ldap, mysql, pgsql or sqlite"),
}

func refuse(typ, instead string) error {
	return fmt.Errorf("unsupported dictionary type: %s is not supported by Dovetail; use %s", typ, instead)
}

// ErrNoSequence is why a table cannot be listed.
var ErrNoSequence = errors.New("sequence operation is not supported")

// ErrContent is content of a table that cannot be used, of which warnings tell.
var ErrContent = errors.New("content of the table is wrong")

// Open opens the table that "type:name" names. Errors are Postfix's texts.
func Open(spec string, o Options) (Table, error) {
	typ, name, ok := strings.Cut(spec, ":")
	if !ok || typ == "" || name == "" {
		return nil, fmt.Errorf("open dictionary: expecting \"type:name\" form instead of \"%s\"", spec)
	}
	if err := refused[typ]; err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if k.name == typ {
			t, err := k.open(spec, name, &o)
			if err != nil {
				return nil, err
			}
			return checked(t, spec, &o), nil
		}
	}
	return nil, fmt.Errorf("unsupported dictionary type: %s", typ)
}

// OpenOrFail opens a table; one that cannot be opened is reported once and
// fails each lookup, as Postfix's daemons have it.
func OpenOrFail(spec string, o Options) Table {
	t, err := Open(spec, o)
	if err != nil {
		o.Log.Errorf("%v", err)
		return &unavailable{spec: spec, reason: err, log: o.Log}
	}
	return t
}

// unavailable is a table that could not be opened.
type unavailable struct {
	spec   string
	reason error
	log    *maillog.Logger
}

func (u *unavailable) Lookup(context.Context, string) (string, bool, error) {
	u.log.Warningf("%s is unavailable. %v", u.spec, u.reason)
	return "", false, fmt.Errorf("%s is unavailable: %w", u.spec, u.reason)
}

func (u *unavailable) pattern() {}

// openError is the text for a file that cannot be opened.
func openError(what, name string, err error) error {
	return fmt.Errorf("open %s%s: %s", what, name, Reason(err))
}

// Reason is the cause of a file error in the words of strerror(3).
func Reason(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// fold brings a key into the form in which tables of fixed keys hold it.
func (o *Options) fold(key string) string {
	if o.NoFold {
		return key
	}
	ascii := true
	for i := range len(key) {
		if key[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(key)
	}
	if o.UTF8 && utf8.ValidString(key) {
		return cases.Fold().String(key)
	}
	b := []byte(key)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

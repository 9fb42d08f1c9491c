package db

import (
	"errors"
	"fmt"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// A luaRequest is the object that functions of a script get. It has the %variables by
// their long names, the methods of luaMethods, and in its tables passdb and
// userdb the fields that are known so far.
type luaRequest struct {
	*Request
	kind luaLookup
}

// end makes the object useless.
func (q *luaRequest) end() { q.Request = nil }

// errEnded is for scripts that use a request when it is over.
const errEnded = "the request has ended"

// table returns the object.
func (q *luaRequest) table(l *lua.LState) *lua.LTable {
	t := l.NewTable()
	item := l.NewUserData()
	item.Value = q
	t.RawSetString("item", item)
	t.RawSetString("skip_password_check", lua.LFalse)
	for _, name := range [...]string{"passdbs_seen_user_unknown", "passdbs_seen_internal_failure", "userdbs_seen_internal_failure"} {
		t.RawSetString(name, lua.LFalse)
	}
	t.RawSetString("passdb", q.fieldsTable(l, func(r *Request) *Fields { return &r.Fields }))
	t.RawSetString("userdb", q.fieldsTable(l, func(r *Request) *Fields { return &r.Userdb }))
	meta := l.NewTable()
	meta.RawSetString("__index", l.NewFunction(q.index))
	l.SetMetatable(t, meta)
	return t
}

// index is what is in the object beside its own fields.
func (q *luaRequest) index(l *lua.LState) int {
	name := l.CheckString(2)
	if q.Request == nil {
		l.RaiseError(errEnded)
	}
	if value, ok := q.namedVar(name); ok {
		l.Push(lua.LString(value))
	} else if method, ok := luaMethods[name]; ok {
		l.Push(l.NewFunction(func(l *lua.LState) int {
			if q.Request == nil {
				l.RaiseError(errEnded)
			}
			return method(q, l)
		}))
	} else {
		l.Push(lua.LNil)
	}
	return 1
}

// fieldsTable is a table that looks fields up.
func (q *luaRequest) fieldsTable(l *lua.LState, fields func(*Request) *Fields) *lua.LTable {
	t, meta := l.NewTable(), l.NewTable()
	meta.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		if q.Request == nil {
			l.RaiseError(errEnded)
		}
		if value, ok := fields(q.Request).Get(l.CheckString(2)); ok {
			l.Push(lua.LString(value))
		} else {
			l.Push(lua.LNil)
		}
		return 1
	}))
	l.SetMetatable(t, meta)
	return t
}

// luaMethods are the methods of a request; their first argument is the object.
var luaMethods map[string]func(q *luaRequest, l *lua.LState) int

func init() { // methods make objects that have methods
	luaMethods = map[string]func(q *luaRequest, l *lua.LState) int{
		"var_expand":             (*luaRequest).varExpand,
		"response_from_template": (*luaRequest).fromTemplate,
		"password_verify":        (*luaRequest).passwordVerify,
		"event":                  (*luaRequest).event,
		"log_debug":              (*luaRequest).logDebug,
		"log_info":               (*luaRequest).logInfo,
		"log_warning":            (*luaRequest).logWarning,
		"log_error":              (*luaRequest).logError,
	}
}

func (q *luaRequest) varExpand(l *lua.LState) int {
	template := l.CheckString(2)
	text, err := q.Expand(template)
	if err != nil {
		l.RaiseError("var_expand(%s) failed: %v", template, err)
	}
	l.Push(lua.LString(text))
	return 1
}

// fromTemplate makes a table of "key=template key=template".
func (q *luaRequest) fromTemplate(l *lua.LState) int {
	t := l.NewTable()
	for _, f := range ParseTemplates(l.CheckString(2)) {
		text, err := q.Expand(f.Value)
		if err != nil {
			l.RaiseError("var_expand(%s) failed: %v", f.Value, err)
		}
		t.RawSetString(f.Name, lua.LString(text))
	}
	l.Push(t)
	return 1
}

// passwordVerify compares a stored password with one in plain text. It returns 1 if they
// are the same, else 0 or, if the stored one is not valid, -1, and a reason.
func (q *luaRequest) passwordVerify(l *lua.LState) int {
	scheme, data := password.Split(l.CheckString(2), "PLAIN")
	err := password.Verify(scheme, data, l.CheckString(3), q.OriginalUser)
	var unknown password.UnknownSchemeError
	result, reason := 1, lua.LNil
	switch {
	case err == nil:
	case errors.Is(err, password.ErrMismatch):
		result = 0
	case errors.As(err, &unknown):
		result, reason = 0, lua.LString(err.Error())
	default:
		result, reason = -1, lua.LString(fmt.Sprintf("Password data is not valid for scheme %s: %v", scheme, err))
	}
	l.Push(lua.LNumber(result))
	l.Push(reason)
	return 2
}

func (q *luaRequest) event(l *lua.LState) int {
	e := &luaEvent{log: q.Log, prefix: strings.TrimSuffix(q.Prefix(q.Section), " ") + " ", quiet: !q.Verbose, debug: q.Debug}
	l.Push(e.table(l))
	return 1
}

func (q *luaRequest) logDebug(l *lua.LState) int {
	q.Debugf("db-lua: %s", l.CheckString(2))
	return 0
}

func (q *luaRequest) logInfo(l *lua.LState) int {
	q.Infof("db-lua: %s", l.CheckString(2))
	return 0
}

func (q *luaRequest) logWarning(l *lua.LState) int {
	q.Log.Warningf("%sdb-lua: %s", q.Prefix(q.Section), l.CheckString(2))
	return 0
}

func (q *luaRequest) logError(l *lua.LState) int {
	q.Errorf("db-lua: %s", l.CheckString(2))
	return 0
}

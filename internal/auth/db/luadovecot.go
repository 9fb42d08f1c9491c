package db

import (
	lua "github.com/yuin/gopher-lua"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// registerDovecot gives a state the table dovecot.
func (s *luaScript) registerDovecot(l *lua.LState) {
	auth := l.NewTable()
	for name, value := range map[string]int{
		"PASSDB_RESULT_INTERNAL_FAILURE": luaInternalFailure, "PASSDB_RESULT_SCHEME_NOT_AVAILABLE": luaSchemeMissing,
		"PASSDB_RESULT_USER_UNKNOWN": luaUserUnknown, "PASSDB_RESULT_USER_DISABLED": luaUserDisabled,
		"PASSDB_RESULT_PASS_EXPIRED": luaPassExpired, "PASSDB_RESULT_NEXT": luaNext,
		"PASSDB_RESULT_PASSWORD_MISMATCH": luaPasswordMismatch, "PASSDB_RESULT_OK": luaOK,
		"USERDB_RESULT_INTERNAL_FAILURE": luaInternalFailure, "USERDB_RESULT_USER_UNKNOWN": luaUserdbUserUnknown,
		"USERDB_RESULT_OK": luaOK,
	} {
		auth.RawSetString(name, lua.LNumber(value))
	}
	log := s.env.Log
	t := l.NewTable()
	t.RawSetString("auth", auth)
	l.SetFuncs(t, map[string]lua.LGFunction{
		"i_debug":   luaLog(log, maillog.Debug),
		"i_info":    luaLog(log, maillog.Info),
		"i_warning": luaLog(log, maillog.Warning),
		"i_error":   luaLog(log, maillog.Error),
		"has_flag": func(l *lua.LState) int {
			value, flag := l.CheckInt64(1), l.CheckInt64(2)
			l.Push(lua.LBool(value&flag == flag))
			return 1
		},
		"set_flag": func(l *lua.LState) int {
			l.Push(lua.LNumber(l.CheckInt64(1) | l.CheckInt64(2)))
			return 1
		},
		"clear_flag": func(l *lua.LState) int {
			l.Push(lua.LNumber(l.CheckInt64(1) &^ l.CheckInt64(2)))
			return 1
		},
		"event": func(l *lua.LState) int {
			l.Push((&luaEvent{log: log}).table(l))
			return 1
		},
		"restrict_global_variables": restrictGlobals,
	})
	l.SetGlobal("dovecot", t)
	if system, ok := l.GetGlobal("os").(*lua.LTable); ok {
		// It would end the auth process, and all logins with it.
		system.RawSetString("exit", l.NewFunction(func(l *lua.LState) int {
			l.RaiseError("os.exit is not available")
			return 0
		}))
	}
}

// luaLog is a function that logs its argument.
func luaLog(log *maillog.Logger, level maillog.Level) lua.LGFunction {
	return func(l *lua.LState) int {
		text := l.CheckString(1)
		if log != nil {
			log.Print(level, text)
		}
		return 0
	}
}

// restrictGlobals has global variables, other than functions, be errors.
func restrictGlobals(l *lua.LState) int {
	globals, meta := l.Get(lua.GlobalsIndex), l.NewTable()
	if l.ToBool(1) {
		l.SetFuncs(meta, map[string]lua.LGFunction{
			"__index": func(l *lua.LState) int {
				l.RaiseError("attempt to write to read undeclared global variable %s", l.CheckString(2))
				return 0
			},
			"__newindex": func(l *lua.LState) int {
				if l.Get(3).Type() != lua.LTFunction {
					l.RaiseError("attempt to write to undeclared global variable %s", l.CheckString(2))
				}
				l.CheckTable(1).RawSetString(l.CheckString(2), l.Get(3))
				return 0
			},
		})
	}
	l.SetMetatable(globals, meta)
	return 0
}

// A luaEvent is an event of a script. Here events are only for log lines.
type luaEvent struct {
	log    *maillog.Logger
	prefix string
	quiet  bool // nothing of level info is logged
	debug  bool
	source bool // log lines say where they come from
}

// table returns the object, whose methods return it again.
func (e *luaEvent) table(l *lua.LState) *lua.LTable {
	t := l.NewTable()
	ignore := func(*lua.LState) {}
	for name, method := range map[string]func(*lua.LState){
		"append_log_prefix":     func(l *lua.LState) { e.prefix += l.CheckString(2) },
		"replace_log_prefix":    func(l *lua.LState) { e.prefix = l.CheckString(2) },
		"set_always_log_source": func(*lua.LState) { e.source = true },
		"set_name":              ignore, "add_str": ignore, "add_int": ignore, "add_timeval": ignore, "inc_int": ignore,
		"log_debug":   e.logAt(maillog.Debug),
		"log_info":    e.logAt(maillog.Info),
		"log_warning": e.logAt(maillog.Warning),
		"log_error":   e.logAt(maillog.Error),
	} {
		t.RawSetString(name, l.NewFunction(func(l *lua.LState) int {
			method(l)
			l.Push(l.Get(1))
			return 1
		}))
	}
	t.RawSetString("passthrough_event", l.NewFunction(func(l *lua.LState) int {
		child := *e
		l.Push(child.table(l))
		return 1
	}))
	return t
}

func (e *luaEvent) logAt(level maillog.Level) func(*lua.LState) {
	return func(l *lua.LState) {
		text := e.prefix + l.CheckString(2)
		if e.source {
			text = where(l) + ": " + text
		}
		silent := level == maillog.Info && e.quiet || level == maillog.Debug && !e.debug
		if e.log != nil && !silent {
			e.log.Print(level, text)
		}
	}
}

package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

const (
	// luaTimeout is how long a function may run.
	luaTimeout = 60 * time.Second
	// maxLuaNames bounds what auth_userdb_iterate may return.
	maxLuaNames = 10_000_000
	// maxIdleLua is how many states wait for the next question.
	maxIdleLua = 30
)

// luaScripts are the open scripts.
type luaScripts struct {
	mu   sync.Mutex
	list []*luaScript
}

func (s *luaScripts) open(env *Env, path string, single bool) (*luaScript, error) {
	script, err := newLuaScript(env, path, single)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, script)
	return script, nil
}

func (s *luaScripts) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, script := range s.list {
		script.close()
	}
	s.list = nil
}

// A luaScript is the script of a section. It runs in several states, which share nothing, as
// in Dovecot's workers.
type luaScript struct {
	env  *Env
	code *lua.FunctionProto

	single chan struct{} // holds one who may use the only state; nil if there may be many
	mu     sync.Mutex
	idle   []*lua.LState
	closed bool
}

func newLuaScript(env *Env, path string, single bool) (*luaScript, error) {
	text, ok := env.ExtFiles[path]
	if !ok {
		var err error
		if text, err = os.ReadFile(path); err != nil {
			var reason syscall.Errno
			if errors.As(err, &reason) {
				err = reason
			}
			return nil, fmt.Errorf("access(%s) failed: %w", path, err)
		}
	}
	if bytes.HasPrefix(text, []byte("#")) {
		text = append([]byte("--"), text...) // its first line is for the system
	}
	chunk, err := parse.Parse(bytes.NewReader(text), path)
	if err != nil {
		return nil, fmt.Errorf("lua_load(%s) failed: %w", path, err)
	}
	s := &luaScript{env: env}
	if s.code, err = lua.Compile(chunk, path); err != nil {
		return nil, fmt.Errorf("lua_load(%s) failed: %w", path, err)
	}
	if single {
		s.single = make(chan struct{}, 1)
		s.single <- struct{}{}
	}
	if env.Log == nil {
		return s, nil // only checked, by a process that should run nobody's code
	}
	l, err := s.start()
	if err != nil {
		return nil, err
	}
	s.idle = append(s.idle, l)
	return s, nil
}

// start runs the script in a new state.
func (s *luaScript) start() (*lua.LState, error) {
	l := lua.NewState(lua.Options{CallStackSize: 200, RegistrySize: 1024, RegistryMaxSize: 1 << 20})
	s.registerDovecot(l)
	ctx, cancel := context.WithTimeout(context.Background(), luaTimeout)
	defer cancel()
	l.SetContext(ctx)
	defer l.RemoveContext()
	err := l.CallByParam(lua.P{Fn: l.NewFunctionFromProto(s.code), Protect: true})
	if err != nil {
		err = fmt.Errorf("lua_pcall(script, 0, 0) failed: %s", luaError(err))
	} else if l.GetGlobal("script_init").Type() == lua.LTFunction {
		err = initLua(l)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// initLua calls script_init, which must return 0.
func initLua(l *lua.LState) error {
	results, err := callLua(l, "script_init", 1)
	if err != nil {
		return err
	}
	switch n, ok := results[0].(lua.LNumber); {
	case !ok:
		return errors.New("script_init() returned non-number")
	case n != 0:
		return errors.New("Script init failed")
	}
	return nil
}

// close ends the states that nobody uses; those in use end when they are given back.
func (s *luaScript) close() {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, l := range idle {
		s.end(l)
	}
}

// end calls script_deinit.
func (s *luaScript) end(l *lua.LState) {
	ctx, cancel := context.WithTimeout(context.Background(), luaTimeout)
	defer cancel()
	l.SetContext(ctx)
	if l.GetGlobal("script_deinit").Type() == lua.LTFunction {
		if _, err := callLua(l, "script_deinit", 0); err != nil && s.env.Log != nil {
			s.env.Log.Errorf("script_deinit() failed: %v", err)
		}
	}
	l.Close()
}

// with lends a state. One that did not finish in time is not used again.
func (s *luaScript) with(ctx context.Context, use func(l *lua.LState) error) error {
	ctx, cancel := context.WithTimeout(ctx, luaTimeout)
	defer cancel()
	if s.single != nil {
		select {
		case <-s.single:
			defer func() { s.single <- struct{}{} }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l, err := s.take()
	if err != nil {
		return err
	}
	l.SetContext(ctx)
	err = use(l)
	if ctx.Err() != nil {
		l.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("the script did not answer within %v", luaTimeout)
		}
		return ctx.Err()
	}
	l.RemoveContext()
	l.SetTop(0)
	s.give(l)
	return err
}

func (s *luaScript) take() (*lua.LState, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, errors.New("the script is not running any more")
	}
	if n := len(s.idle); n > 0 {
		l := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return l, nil
	}
	s.mu.Unlock()
	return s.start()
}

func (s *luaScript) give(l *lua.LState) {
	s.mu.Lock()
	if !s.closed && len(s.idle) < maxIdleLua {
		s.idle = append(s.idle, l)
		l = nil
	}
	s.mu.Unlock()
	if l != nil {
		s.end(l)
	}
}

// has reports whether the script has a function.
func (s *luaScript) has(function string) (bool, error) {
	found := false
	err := s.with(context.Background(), func(l *lua.LState) error {
		found = l.GetGlobal(function).Type() == lua.LTFunction
		return nil
	})
	return found, err
}

// callLua calls a function of the script.
func callLua(l *lua.LState, function string, results int, args ...lua.LValue) ([]lua.LValue, error) {
	fn := l.GetGlobal(function)
	if fn.Type() != lua.LTFunction {
		return nil, fmt.Errorf("'%s' is not a function", function)
	}
	if err := l.CallByParam(lua.P{Fn: fn, NRet: results, Protect: true}, args...); err != nil {
		return nil, fmt.Errorf("lua_pcall(%s, %d, %d) failed: %s", function, len(args), results, luaError(err))
	}
	values := make([]lua.LValue, results)
	for i := range values {
		values[i] = l.Get(i - results)
	}
	l.Pop(results)
	return values, nil
}

// luaError is the message of an error, without the stack.
func luaError(err error) string {
	var e *lua.ApiError
	if errors.As(err, &e) && e.Object != nil && e.Object != lua.LNil {
		return e.Object.String()
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// A luaLookup says which fields a function is asked for.
type luaLookup uint8

const (
	lookupPassdb luaLookup = iota
	lookupUserdb
)

// ask has a function answer about a request.
func (s *luaScript) ask(ctx context.Context, r *Request, function string, args []lua.LValue, kind luaLookup) (*luaAnswer, error) {
	var answer *luaAnswer
	err := s.with(ctx, func(l *lua.LState) error {
		req := &luaRequest{Request: r, kind: kind}
		// Whatever the script keeps of the request is of no use afterwards.
		defer req.end()
		results, err := callLua(l, function, 2, append([]lua.LValue{req.table(l)}, args...)...)
		if err != nil {
			return err
		}
		answer, err = readAnswer(r, function, results)
		return err
	})
	return answer, err
}

// readAnswer takes what a function has returned.
func readAnswer(r *Request, function string, results []lua.LValue) (*luaAnswer, error) {
	label := function
	if function != luaPasswordVerify {
		label += "(req)"
	}
	result, ok := luaInteger(results[0])
	if !ok {
		return nil, fmt.Errorf("db-lua: %s invalid return value (expected number got %s)", label, results[0].Type())
	}
	a := &luaAnswer{result: result}
	switch v := results[1].(type) {
	case *lua.LTable:
		if result == luaOK {
			a.fields = tableFields(r, v)
		}
	case lua.LString, lua.LNumber:
		a.isText, a.text = true, beforeNUL(v.String())
		for word := range strings.FieldsSeq(a.text) {
			a.fields = append(a.fields, parseField(word))
		}
	default:
		return nil, fmt.Errorf("db-lua: %s invalid return value (expected string or table, got %s)", label, results[1].Type())
	}
	return a, nil
}

// luaInteger takes a number, also as a text.
func luaInteger(v lua.LValue) (int, bool) {
	switch v := v.(type) {
	case lua.LNumber:
		return int(v), lua.LNumber(int(v)) == v
	case lua.LString:
		n, err := strconv.Atoi(strings.TrimSpace(string(v)))
		return n, err == nil
	}
	return 0, false
}

// tableFields makes fields of a table.
func tableFields(r *Request, table *lua.LTable) []Field {
	var fields []Field
	table.ForEach(func(key, value lua.LValue) {
		f := Field{Name: beforeNUL(key.String())}
		switch v := value.(type) {
		case lua.LNumber:
			f.Value = "0"
			if n, ok := luaInteger(v); ok {
				f.Value = strconv.Itoa(n)
			}
		case lua.LBool:
			f.Value = "no"
			if v {
				f.Value = "yes"
			}
		case lua.LString:
			f.Value = beforeNUL(string(v))
		default:
			r.Log.Warningf("%sdb-lua: '%s' has invalid value type %s - ignoring", r.Prefix(r.Section), f.Name, "no value")
		}
		fields = append(fields, f)
	})
	return fields
}

// beforeNUL is a text as C has it.
func beforeNUL(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

var errNoIterate = errors.New(luaUserdbIterate + " is missing")

// list calls auth_userdb_iterate.
func (s *luaScript) list(ctx context.Context) ([]string, error) {
	var names []string
	err := s.with(ctx, func(l *lua.LState) error {
		if l.GetGlobal(luaUserdbIterate).Type() != lua.LTFunction {
			return errNoIterate
		}
		results, err := callLua(l, luaUserdbIterate, 1)
		if err != nil {
			return fmt.Errorf("%s failed: %w", luaUserdbIterate, err)
		}
		table, ok := results[0].(*lua.LTable)
		if !ok {
			return errors.New("Cannot iterate, return value is not table")
		}
		table.ForEach(func(_, value lua.LValue) {
			switch {
			case err != nil:
			case value.Type() != lua.LTString && value.Type() != lua.LTNumber:
				err = errors.New("Value is not string")
			case len(names) == maxLuaNames:
				err = fmt.Errorf("%s returns more than %d names", luaUserdbIterate, maxLuaNames)
			default:
				names = append(names, beforeNUL(value.String()))
			}
		})
		return err
	})
	return names, err
}

// where is the file and line of the script that called a function.
func where(l *lua.LState) string {
	file, line, _ := strings.Cut(strings.TrimSuffix(l.Where(1), ": "), ":")
	return filepath.Base(file) + ":" + strings.TrimSuffix(line, ":")
}

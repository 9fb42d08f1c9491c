package doveconf

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// preserveEnv names the variables that survive when Dovecot's programs clean
// their environment. If it is set, -e cleans it.
const preserveEnv = "DOVECOT_PRESERVE_ENVS"

// environment is that of the command of -e: each setting that is set, with its path in
// upper case.
func (r *run) environment(c *dovecot.Config) ([]string, error) {
	sel := r.sel
	sel.Show, sel.Flat, sel.Computed = dovecot.ShowSet, true, capabilities(c)
	x, err := c.Export(sel)
	if err != nil {
		return nil, err
	}
	env := environ{}
	for _, v := range os.Environ() {
		env.put(v)
	}
	if kept, ok := os.LookupEnv(preserveEnv); ok {
		m, err := dovecot.Get[dovecot.Master](c, sel.Filter)
		if err != nil {
			return nil, err
		}
		env = env.cleaned(kept, m.ImportEnvironment)
	}
	env.put("DOVECONF_ENV=1")
	for path, value := range x.All() {
		env.put(strings.ToUpper(path) + "=" + value)
	}
	if _, errs := c.Check(sel); len(errs) > 0 {
		r.error(errs[0])
		return nil, errors.New("Invalid configuration")
	}
	return env.list(), nil
}

// environ is an environment by name.
type environ map[string]string

func (e environ) put(variable string) {
	name, value, _ := strings.Cut(variable, "=")
	e[name] = value
}

func (e environ) list() []string {
	var out []string
	for name, value := range e {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

// cleaned keeps what kept and import_environment name, and sets what the latter gives a value.
func (e environ) cleaned(kept, imported string) environ {
	names := strings.Fields(kept + " NOTIFY_SOCKET LISTEN_FDS LISTEN_PID")
	for v := range strings.FieldsSeq(imported) {
		name, _, given := strings.Cut(v, "=")
		if given {
			e.put(v)
		}
		names = append(names, name)
	}
	out := environ{preserveEnv: strings.Join(names, " ")}
	for _, name := range names {
		if value, ok := e[name]; ok && name != preserveEnv {
			out[name] = value
		}
	}
	return out
}

// lookPath finds a command in PATH; unlike package exec's, its error is the system's.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", syscall.ENOENT
	}
	return path, nil
}

func errnoText(err error) string {
	s := err.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

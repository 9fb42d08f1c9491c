package doveconf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// The exit statuses of Dovecot's programs.
const (
	exitFatal    = 89 // FATAL_DEFAULT
	exitConfig   = 78 // EX_CONFIG
	exitTempfail = 75 // EX_TEMPFAIL, for callers that speak sysexits
)

// Main runs doveconf with the arguments after its name and returns the exit
// status.
func Main(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	r := &run{stdout: stdout, stderr: stderr}
	o, err := parseOptions(args)
	var fatal fatalError
	switch {
	case errors.As(err, &fatal):
		return r.fatal(err)
	case err != nil:
		fmt.Fprintf(stderr, "doveconf: %v\n", err)
		return exitFatal
	}
	r.options = o
	return r.main()
}

// A run is one invocation.
type run struct {
	*options
	stdout, stderr io.Writer
}

func (r *run) main() int {
	if r.instance != "" {
		path, ok := r.instancePath(r.instance)
		if !ok {
			return r.fatal(fmt.Errorf("Unknown instance name: %s", r.instance))
		}
		r.path = path
	}
	switch {
	case r.hosts:
		return r.verifyHosts()
	case r.exec && len(r.args) == 0:
		return r.fatal(errors.New("Missing command for -e"))
	}
	header := len(r.args) == 0 && !r.flat
	if header {
		r.printVersion()
	}
	c, err := r.load()
	if c == nil || err != nil && r.exec {
		return r.fatal(err)
	}
	switch {
	case r.exec:
		return r.fatal(r.execute(c))
	case r.flat:
		err = errors.Join(err, r.printFlat(c))
	case len(r.args) > 0:
		// What is wrong elsewhere must not keep scripts from asking for a setting.
		err = r.printNamed(c)
	default:
		r.printHeader(c)
		err = errors.Join(err, r.printAll(c))
	}
	if err != nil {
		return r.fatal(firstOf(err))
	}
	return 0
}

// firstOf is the first of joined errors; the program ends with it.
func firstOf(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// load reads the configuration and prints its warnings.
func (r *run) load() (*dovecot.Config, error) {
	if r.defaults {
		return dovecot.Parse("<defaults>", "")
	}
	opts := []dovecot.Option{dovecot.Literal()}
	if r.expand {
		opts = []dovecot.Option{dovecot.ExpandFiles()}
	}
	if !r.full {
		opts = append(opts, dovecot.Modules(r.sel.Modules...))
	}
	c, err := dovecot.Load(r.path, opts...)
	var warnings, errs []string
	var bad *dovecot.Error
	switch {
	case c != nil:
		warnings, errs = c.Diagnostics()
	case errors.As(err, &bad):
		warnings, errs = bad.Warnings, bad.Errors
	}
	for _, w := range warnings {
		r.warn(w)
	}
	for _, e := range errs {
		r.error(errors.New(e))
	}
	return c, err
}

func (r *run) warn(text string) { fmt.Fprintf(r.stderr, "doveconf: Warning: %s\n", text) }

func (r *run) error(err error) { fmt.Fprintf(r.stderr, "doveconf: Error: %v\n", err) }

// fatal reports the error the program ends with.
func (r *run) fatal(err error) int {
	fmt.Fprintf(r.stderr, "doveconf: Fatal: %v\n", err)
	if os.Getenv("USE_SYSEXITS") != "" {
		return exitTempfail
	}
	return exitFatal
}

var errErrors = errors.New("Errors in configuration")

// selection is what to export.
func (r *run) selection(c *dovecot.Config) dovecot.Selection {
	sel := r.sel
	sel.Computed = capabilities(c)
	if sel.Show == dovecot.ShowAll && len(r.args) > 0 {
		sel.Show = dovecot.ShowHidden
	}
	return sel
}

func (r *run) printAll(c *dovecot.Config) error {
	x, err := c.Export(r.selection(c))
	if err != nil {
		r.error(err)
		return c.WriteFilters(r.stdout, r.selection(c), r.printing(""))
	}
	how := r.printing("")
	how.Filters = true
	if err := x.Write(r.stdout, how); err != nil {
		return err
	}
	r.reportChecks(c)
	return nil
}

// reportChecks prints what is wrong with the printed settings.
func (r *run) reportChecks(c *dovecot.Config) {
	if r.defaults {
		return
	}
	warnings, errs := c.Check(r.sel)
	for _, w := range warnings {
		r.warn(w)
	}
	for _, err := range errs {
		r.error(err)
	}
}

func (r *run) printing(section string) dovecot.Printing {
	return dovecot.Printing{Section: section, Passwords: r.passwords}
}

// printFlat is -S.
func (r *run) printFlat(c *dovecot.Config) error {
	sel := r.selection(c)
	sel.Flat = true
	x, err := c.Export(sel)
	if err == nil {
		err = x.WriteFlat(r.stdout, r.args)
	}
	if err != nil {
		r.error(err)
		return errErrors
	}
	return nil
}

// printNamed prints single settings and sections, in the order of the arguments.
func (r *run) printNamed(c *dovecot.Config) error {
	x, err := c.Export(r.selection(c))
	if err != nil {
		r.error(err)
		return errErrors
	}
	for _, name := range r.args {
		value, found, section := x.Lookup(name)
		switch {
		case found && r.bare:
			fmt.Fprintf(r.stdout, "%s\n", value)
		case found:
			fmt.Fprintf(r.stdout, "%s = %s\n", name, value)
		case section:
			if err := x.Write(r.stdout, r.printing(name)); err != nil {
				return err
			}
			r.reportChecks(c)
		}
	}
	return nil
}

// execute replaces this program by the command of -e, with the settings in its
// environment. It returns only if that fails.
func (r *run) execute(c *dovecot.Config) error {
	env, err := r.environment(c)
	if err != nil {
		return err
	}
	path, err := lookPath(r.args[0])
	if err == nil {
		err = syscall.Exec(path, r.args, env)
	}
	return fmt.Errorf("execvp(%s) failed: %s", r.args[0], errnoText(err))
}

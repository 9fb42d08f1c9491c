package db

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/db/checkpassword"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// ReplyProgram is the name of the program that answers for checkpassword programs. It is
// in base_dir.
const ReplyProgram = "checkpassword-reply"

// checkpasswordDB is checkpassword, as a passdb and as a userdb: a program is run for
// each question.
type checkpasswordDB struct {
	words []string // templates of the program and its arguments
	reply string
}

func openCheckpassword(env *Env, args string) (*checkpasswordDB, error) {
	// Each word is expanded by itself, so that what users type stays one argument.
	c := &checkpasswordDB{words: strings.Split(args, " "), reply: filepath.Join(env.Settings.BaseDir, ReplyProgram)}
	if c.words[0] == "" {
		return nil, errors.New("checkpassword: args is missing the path of the program")
	}
	return c, nil
}

func openCheckpasswordPassdb(env *Env, args string) (Passdb, error) {
	return openCheckpassword(env, args)
}

func openCheckpasswordUserdb(env *Env, args string) (Userdb, error) {
	return openCheckpassword(env, args)
}

// Blocking implements [Passdb] and [Userdb].
func (c *checkpasswordDB) Blocking() bool { return true }

// Verify implements [Verifier].
func (c *checkpasswordDB) Verify(ctx context.Context, r *Request, password string) error {
	reply, err := c.call(ctx, r, password, nil)
	var tooLong checkpassword.ErrTooLong
	switch {
	case errors.As(err, &tooLong):
		r.Infof("%v", err)
		return Told(ErrMismatch)
	case err != nil:
		return err
	}
	switch reply.Status {
	case checkpassword.StatusOK:
	case checkpassword.StatusMismatch:
		r.Infof("Login failed (status=%d)", reply.Status)
		return Told(ErrMismatch)
	case checkpassword.StatusAuthorized:
		return fmt.Errorf("Child %d exited with status 2 (tried to use userdb-only checkpassword program for passdb?)", reply.PID)
	default:
		return fmt.Errorf("Child %d exited with status %d", reply.PID, reply.Status)
	}
	if reply.Empty {
		return errors.New("Received no input")
	}
	if stored, ok := setFields(r, reply.Fields); ok {
		keepForCache(r, stored)
	}
	return nil
}

// keepForCache sets the password that the program has told.
func keepForCache(r *Request, stored string) {
	scheme, data := password.Split(stored, "")
	if scheme == "" {
		r.Errorf("password field returned without {scheme} prefix")
		return
	}
	r.SetField(Field{Name: "password", Value: "{" + scheme + "}" + data})
}

// setFields adds the fields of an answer and returns the password among them.
func setFields(r *Request, fields []string) (stored string, ok bool) {
	for _, text := range fields {
		if value, isPassword := strings.CutPrefix(text, "password="); isPassword {
			stored, ok = value, true
			continue
		}
		r.SetField(parseField(text))
	}
	return stored, ok
}

// Fetch implements [Fetcher].
func (c *checkpasswordDB) Fetch(ctx context.Context, r *Request) (Secret, error) {
	fields, err := c.lookup(ctx, r, []string{"CREDENTIALS_LOOKUP=1", "SCHEME=" + r.Scheme})
	if err != nil {
		return Secret{}, err
	}
	stored, ok := setFields(r, fields)
	if !ok && r.Scheme != "" {
		r.Infof("Requested %s scheme, but we have a NULL password", r.Scheme)
		return Secret{}, ErrNotSupported
	}
	return Secret{Stored: stored, DefaultScheme: r.Scheme}, nil
}

// LookupUser implements [Userdb].
func (c *checkpasswordDB) LookupUser(ctx context.Context, r *Request) error {
	fields, err := c.lookup(ctx, r, nil)
	if err != nil {
		return err
	}
	for _, text := range fields {
		if strings.HasPrefix(text, "userdb_") {
			r.SetField(parseField(text))
		}
	}
	return nil
}

// lookup asks about a user without having a password.
func (c *checkpasswordDB) lookup(ctx context.Context, r *Request, env []string) ([]string, error) {
	reply, err := c.call(ctx, r, "", append([]string{"AUTHORIZED=1"}, env...))
	var tooLong checkpassword.ErrTooLong
	switch {
	case errors.As(err, &tooLong):
		r.Infof("%v", err)
		return nil, Told(ErrUnknownUser)
	case err != nil:
		return nil, err
	}
	switch reply.Status {
	case checkpassword.StatusUnknown:
		r.Infof("User unknown")
		return nil, Told(ErrUnknownUser)
	case checkpassword.StatusAuthorized:
		if reply.Empty {
			return nil, errors.New("Received no input")
		}
		return reply.Fields, nil
	}
	return nil, fmt.Errorf("Child %d exited with status %d", reply.PID, reply.Status)
}

// call runs the program and logs its complaints.
func (c *checkpasswordDB) call(ctx context.Context, r *Request, password string, env []string) (*checkpassword.Reply, error) {
	if strings.ContainsRune(r.User+password, 0) {
		// Where one string ends is where the next begins.
		return nil, errors.New("Username or password contains NUL")
	}
	call := &checkpassword.Call{User: r.User, Password: password, Env: append(env, checkpasswordEnv(r)...)}
	for _, word := range c.words {
		arg, err := r.Expand(word)
		if err != nil {
			return nil, fmt.Errorf("Failed to expand checkpassword_path=%s: %w", word, err)
		}
		call.Args = append(call.Args, arg)
	}
	call.Args = append(call.Args, c.reply)
	reply, err := checkpassword.Run(ctx, call)
	if reply != nil {
		for _, line := range reply.Errors {
			r.Log.Errorf("%s", line)
		}
	}
	return reply, err
}

// checkpasswordEnv is the environment of a program: what is known of the request, by the
// names of UCSPI and as AUTH_VARIABLE for each %variable except the password. Fields
// that earlier passdbs gave are there in upper case.
func checkpasswordEnv(r *Request) []string {
	env := []string{"PROTO=TCP", fmt.Sprintf("ORIG_UID=%d", os.Getuid()), "SERVICE=" + r.Service}
	if tz, ok := os.LookupEnv("TZ"); ok {
		env = append(env, "TZ="+tz)
	}
	add := func(value string, names ...string) {
		for _, name := range names {
			env = append(env, name+"="+value)
		}
	}
	if r.Local.Addr().IsValid() {
		add(addrText(r.Local), "TCPLOCALIP", "LOCAL_IP")
	}
	if r.Remote.Addr().IsValid() {
		add(addrText(r.Remote), "TCPREMOTEIP", "REMOTE_IP")
	}
	if r.Local.Port() != 0 {
		add(portText(r.Local), "TCPLOCALPORT")
	}
	if r.Remote.Port() != 0 {
		add(portText(r.Remote), "TCPREMOTEPORT")
	}
	if r.MasterUser != "" {
		add(r.MasterUser, "MASTER_USER")
	}
	for _, f := range r.Fields.All() {
		value := f.Value
		if value == "" {
			value = "1"
		}
		if !strings.ContainsAny(f.Name, "=\x00") && !strings.ContainsRune(value, 0) {
			add(value, strings.ToUpper(f.Name))
		}
	}
	r.eachVar(func(name, value string) {
		if name != "password" && !strings.ContainsRune(value, 0) {
			add(value, "AUTH_"+strings.ToUpper(name))
		}
	})
	return env
}

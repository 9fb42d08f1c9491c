package asuser

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// command runs a command of an alias, a .forward file or mailbox_command.
func (o *operation) command() (*os.File, error) {
	set := o.service.set
	if set.AllowCommands == "" && set.MailboxCommand == "" && set.MailboxCommandMaps == "" {
		return nil, errors.New("the configuration allows no commands")
	}
	u, err := o.unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := ExpandLoose(set.ExecDirectory, o.vars(u), set.ExecFilter)
	if err != nil {
		o.r.DSN, o.r.Reason = "4.3.5", "mail system configuration error"
		o.r.Warnings = append(o.r.Warnings, "bad parameter value syntax for command_execution_directory: "+set.ExecDirectory)
		return nil, nil
	}
	c := &command{
		program: "local", text: o.req.Command, dir: dir, as: o.credential(u.rights()),
		limit: set.CommandTimeLimit, size: set.SizeLimit, copy: o.req.Copy,
	}
	c.words(set.Shell)
	return nil, o.run(c)
}

func (o *operation) credential(r rights) *syscall.Credential {
	if o.pool.single {
		return nil
	}
	return &syscall.Credential{Uid: r.uid, Gid: r.gid, Groups: []uint32{r.gid}}
}

// run runs a command with its environment.
func (o *operation) run(c *command) error {
	if !o.pool.single && (c.as == nil || c.as.Uid == 0 || c.as.Gid == 0) {
		return errors.New("commands do not run as root")
	}
	c.env = o.environment()
	kill, done := o.killable(o.req.ID)
	defer done()
	c.kill = kill
	c.run(o.content, o.r)
	return nil
}

// Environment is that of a service's commands: what export_environment names, and the
// search path.
func (s *Service) Environment() []string {
	env := []string{"PATH=" + commandPath}
	for _, word := range postfix.SplitList(s.set.ExportEnvironment) {
		if strings.Contains(word, "=") {
			env = setVariable(env, word)
		} else if value, ok := s.imported(word); ok {
			env = setVariable(env, word+"="+value)
		}
	}
	return setVariable(env, "PATH="+commandPath)
}

// environment adds what the agent wants.
func (o *operation) environment() []string {
	env := o.service.Environment()
	for _, e := range o.req.Env {
		if strings.Contains(e, "=") && !strings.Contains(e, "\x00") {
			env = setVariable(env, e)
		}
	}
	return env
}

// imported is the value of a variable in the environment of Postfix's daemons:
// its master sets where the configuration is, and keeps what import_environment says.
func (s *Service) imported(name string) (string, bool) {
	if name == "MAIL_CONFIG" {
		return s.Main.Dir(), true
	}
	for _, word := range postfix.SplitList(s.set.ImportEnvironment) {
		key, value, given := strings.Cut(word, "=")
		if key != name {
			continue
		}
		if given {
			return value, true
		}
		return os.LookupEnv(name)
	}
	return "", false
}

func setVariable(env []string, variable string) []string {
	name, _, _ := strings.Cut(variable, "=")
	env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	return append(env, variable)
}

// pipe runs the program of a pipe(8) entry.
func (o *operation) pipe() (*os.File, error) {
	p := o.service.pipe
	argv := o.req.Argv
	if len(argv) == 0 || argv[0] != p.Command[0] && !strings.Contains(p.Command[0], "$") {
		return nil, fmt.Errorf("service %s runs %s, nothing else", o.req.Service, p.Command[0])
	}
	as, err := o.pipeRights(p)
	if err != nil {
		return nil, err
	}
	limit, err := o.service.TimeLimit()
	if err != nil {
		return nil, err
	}
	c := &command{
		program: "pipe", argv: argv, dir: p.Directory, chroot: p.Chroot, as: o.credential(as),
		limit: limit, copy: o.req.Copy,
	}
	if p.Chroot != "" && o.pool.single {
		return nil, errors.New("chroot= needs root")
	}
	return nil, o.run(c)
}

// pipeRights is the user of the entry, who must be neither root nor the mail
// system itself. Errors are Postfix's.
func (o *operation) pipeRights(p *PipeEntry) (rights, error) {
	u, err := o.users.byName(o.ctx, p.User)
	if err != nil {
		return rights{}, err
	}
	if u == nil {
		return rights{}, fmt.Errorf("get_service_attr: unknown username: %s", p.User)
	}
	r := u.rights()
	if p.Group != "" {
		gid, err := master.LookupGroup(p.Group)
		if err != nil {
			return r, fmt.Errorf("get_service_attr: unknown group: %s", p.Group)
		}
		r.gid = uint32(gid)
	}
	if o.pool.single {
		return r, nil
	}
	core, owner := o.service.core, o.setup.Load().Owner
	postdrop, err := master.LookupGroup(core.SetgidGroup)
	switch {
	case r.uid == 0:
		return r, errors.New("user= command-line attribute specifies root privileges")
	case int(r.uid) == owner.UID:
		return r, fmt.Errorf("user= command-line attribute specifies mail system owner %s", core.MailOwner)
	case r.gid == 0:
		return r, errors.New("user= command-line attribute specifies privileged group id 0")
	case int(r.gid) == owner.GID:
		return r, fmt.Errorf("user= command-line attribute specifies mail system owner %s group id %d", core.MailOwner, r.gid)
	case err == nil && int(r.gid) == postdrop:
		return r, fmt.Errorf("user= command-line attribute specifies mail system %s group id %d", core.SetgidGroup, r.gid)
	}
	return r, nil
}

package asuser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// An operation is one request being carried out.
type operation struct {
	*session
	ctx     context.Context
	req     *Request
	content *os.File
	service *Service
	r       *Reply
}

// errNoUser is for requests that name somebody who does not exist: the mta has
// asked before, so this is a change meanwhile.
var errNoUser = errors.New("no such user")

func (o *operation) user() (*os.File, error) {
	var err error
	o.r.User, err = o.users.byName(o.ctx, o.req.User)
	return nil, err
}

func (o *operation) userID() (*os.File, error) {
	var err error
	o.r.User, err = o.users.byID(o.ctx, o.req.UID)
	return nil, err
}

// named is the user that the request names.
func (o *operation) named() (*User, error) {
	u, err := o.users.byName(o.ctx, o.req.User)
	if err == nil && u == nil {
		err = errNoUser
	}
	return u, err
}

// unprivileged is who commands and files are served as: the user, or default_privs
// instead of nobody in particular and of root.
func (o *operation) unprivileged() (*User, error) {
	if o.req.User != "" {
		u, err := o.named()
		if err != nil || u.UID != 0 && u.GID != 0 {
			return u, err
		}
		other, err := o.defaultPrivs()
		if err != nil {
			return nil, err
		}
		mixed := *u
		if u.UID == 0 {
			mixed.UID = other.UID
		}
		if u.GID == 0 {
			mixed.GID = other.GID
		}
		return &mixed, nil
	}
	return o.defaultPrivs()
}

func (o *operation) defaultPrivs() (*User, error) {
	u, err := o.users.byName(o.ctx, o.service.set.DefaultPrivs)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, fmt.Errorf("default_privs: unknown user name value: %s", o.service.set.DefaultPrivs)
	case u.UID == 0 || u.GID == 0:
		return nil, errors.New("default_privs has the rights of root")
	case o.setup.Load().Owner.Change && int(u.UID) == o.setup.Load().Owner.UID:
		return nil, errors.New("default_privs is the owner of the mail system")
	}
	return u, nil
}

func (u *User) rights() rights { return rights{u.UID, u.GID} }

// do has a helper do a job and takes over what it says.
func (o *operation) do(r rights, j *job, content *os.File) (*finished, error) {
	j.Host = o.host
	f, err := o.pool.do(r, j, content)
	if err != nil {
		return nil, err
	}
	o.r.DSN, o.r.Reason, o.r.Detail, o.r.Warnings = f.DSN, f.Reason, f.Detail, f.Warnings
	o.r.NotRegular = f.Special
	return f, nil
}

func (o *operation) home() (*os.File, error) {
	u, err := o.named()
	if err != nil {
		return nil, err
	}
	f, err := o.do(u.rights(), &job{Do: "stat", Paths: []string{u.Home}}, nil)
	if err == nil && f.Errno != 0 {
		o.r.DSN, o.r.Reason = "4.3.0", fmt.Sprintf("cannot access home directory %s: %s", u.Home, reason(unix.Errno(f.Errno)))
	}
	return nil, err
}

// forward finds the .forward file of a user.
func (o *operation) forward() (*os.File, error) {
	u, err := o.named()
	if err != nil {
		return nil, err
	}
	o.r.User = u
	if o.pool.single && int(u.UID) != os.Geteuid() {
		return nil, nil // what others write must not be done with the service's rights
	}
	paths, templates := o.forwardPaths(u)
	if len(paths) == 0 {
		return nil, nil
	}
	f, err := o.do(u.rights(), &job{Do: "forward", Paths: paths, Owner: int64(u.UID)}, nil)
	if err != nil || f.Index < 0 || f.Index >= len(paths) {
		return nil, err
	}
	o.r.Found, o.r.Path = true, paths[f.Index]
	o.r.Extended = usesExtension(templates[f.Index], o.vars(u))
	return f.file, nil
}

// vars are the values of names in parameters: what is known of the user is not
// believed of others.
func (o *operation) vars(u *User) map[string]string {
	vars := make(map[string]string, len(o.req.Vars)+2)
	for name, value := range o.req.Vars {
		if u.UID == 0 && strings.Contains(value, "/") {
			continue // root's files are where the configuration says
		}
		vars[name] = value
	}
	vars["home"], vars["shell"] = u.Home, u.Shell
	return vars
}

func (o *operation) forwardPaths(u *User) (paths, templates []string) {
	vars := o.vars(u)
	for _, template := range postfix.SplitList(o.service.set.ForwardPath) {
		path, err := Expand(template, vars, o.service.set.ForwardFilter)
		if err != nil {
			var two *postfix.Error
			if errors.As(err, &two) {
				o.r.Warnings = append(o.r.Warnings, two.Warning)
			}
			continue
		}
		paths, templates = append(paths, path), append(templates, template)
	}
	return paths, templates
}

// include opens an :include: file: as its user, as root where an alias database of
// root's leads to it, else as default_privs.
func (o *operation) include() (*os.File, error) {
	if !filepath.IsAbs(o.req.Path) {
		return nil, fmt.Errorf(":include:%s uses a relative path", o.req.Path)
	}
	as, err := o.includeRights()
	if err != nil {
		return nil, err
	}
	f, err := o.do(as, &job{Do: "include", Paths: []string{o.req.Path}}, nil)
	if err != nil || f.file == nil {
		return nil, err
	}
	if o.req.User == "" {
		if o.r.User, err = o.users.byID(o.ctx, f.UID); err != nil {
			f.file.Close()
			return nil, err
		}
	}
	return f.file, nil
}

func (o *operation) includeRights() (rights, error) {
	if o.req.User != "" {
		u, err := o.unprivileged()
		if err != nil {
			return rights{}, err
		}
		return u.rights(), nil
	}
	if o.service.grants.check(o.ctx, o.req.Via, o.req.Path) == nil {
		return rights{}, nil
	}
	u, err := o.defaultPrivs()
	if err != nil {
		return rights{}, err
	}
	return u.rights(), nil
}

// file appends to a file, or delivers into a Maildir.
func (o *operation) file() (*os.File, error) {
	if !filepath.IsAbs(o.req.Path) {
		return nil, fmt.Errorf("file %s: not an absolute path", o.req.Path)
	}
	if o.service.set.AllowFiles == "" {
		return nil, errors.New("allow_mail_to_files allows none")
	}
	u, err := o.unprivileged()
	if err != nil {
		return nil, err
	}
	return nil, o.deliver(u.rights(), &job{
		Do: kindOf(o.req.Path, "file"), Paths: []string{o.req.Path}, Copy: o.req.Copy, Locks: mayFail(o.service.local),
		Limit: o.service.set.SizeLimit, Owner: -1, DSN: "5.2.0",
	})
}

func mayFail(l Locks) Locks {
	l.DotMayFail = true
	return l
}

// kindOf is what a path means: with a slash at the end a Maildir.
func kindOf(path, file string) string {
	if strings.HasSuffix(path, "/") {
		return "maildir"
	}
	return file
}

// deliver has a helper deliver. Access that a Maildir lacks is worth a hint.
func (o *operation) deliver(r rights, j *job) error {
	f, err := o.do(r, j, o.content)
	o.r.Path = j.Paths[0]
	if err != nil || f.DSN == "" {
		return err
	}
	if j.Do == "maildir" && unix.Errno(f.Errno) == unix.EACCES {
		o.r.Warnings = append(o.r.Warnings,
			fmt.Sprintf("maildir access problem for UID/GID=%d/%d: %s", r.uid, r.gid, f.Reason), "perhaps you need to create the maildirs in advance")
	}
	return nil
}

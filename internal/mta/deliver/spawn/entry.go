package spawn

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// An entry is what the arguments of a spawn(8) entry in master.cf say.
type entry struct {
	user, group string
	command     []string // the program and its arguments
}

// parseEntry reads the arguments. Errors are Postfix's.
func parseEntry(e *postfix.ServiceEntry) (*entry, error) {
	p := new(entry)
	for i, arg := range e.Args {
		name, value, _ := strings.Cut(arg, "=")
		switch {
		case strings.EqualFold(name, "user"):
			p.user, p.group, _ = strings.Cut(value, ":")
		case strings.EqualFold(name, "argv"):
			p.command = append([]string{value}, e.Args[i+1:]...)
			return p, p.check()
		default:
			return nil, fmt.Errorf("unknown attribute name: %s", arg)
		}
	}
	return p, p.check()
}

func (p *entry) check() error {
	switch {
	case p.user == "":
		return errors.New("missing user= attribute")
	case len(p.command) == 0:
		return errors.New("missing argv= attribute")
	}
	return nil
}

// identity is who the command runs as. Errors are Postfix's.
func (p *entry) identity(owner master.Identity) (master.Identity, error) {
	if master.SingleUser() {
		return master.Identity{}, nil
	}
	id := master.Identity{Change: true}
	var err error
	if id.UID, id.GID, err = master.LookupUser(p.user); err != nil {
		return id, fmt.Errorf("unknown user name: %s", p.user)
	}
	if p.group != "" {
		if id.GID, err = master.LookupGroup(p.group); err != nil {
			return id, fmt.Errorf("unknown group name: %s", p.group)
		}
	}
	id.Groups = []int{id.GID}
	switch {
	case id.UID == 0:
		err = errors.New("request to deliver as root")
	case id.UID == owner.UID:
		err = errors.New("request to deliver as mail system owner")
	case id.GID == 0:
		err = errors.New("request to use privileged group id 0")
	case id.GID == owner.GID:
		err = fmt.Errorf("request to use mail system owner group id %d", id.GID)
	}
	return id, err
}

package dovecot

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

//go:embed services.conf
var builtinServices string

// builtin is the layer below the global one: the services every Dovecot has. Debian
// builds it with tcpwrap, others do not.
var builtin = sync.OnceValue(func() *section {
	c := &Config{path: "built-in services"}
	p := newParser(c, options{literal: true}, newSection(schema().root, "", -1, pos{}))
	if err := p.parse(c.path, strings.NewReader(builtinServices)); err != nil {
		panic(err) // the embedded text is wrong
	}
	root := c.layers[0].root
	root.forget()
	if flavor.Name != "debian" {
		root.subs = slices.DeleteFunc(root.subs, func(s *section) bool { return s.name == "tcpwrap" })
	}
	return root
})

// forget clears the positions of a section, which say that a value was
// configured.
func (s *section) forget() {
	s.pos = pos{}
	for k, v := range s.keys {
		v.pos = pos{}
		s.keys[k] = v
	}
	for _, sub := range s.subs {
		sub.forget()
	}
}

// Services decodes all services as the master needs them: names of the
// default users resolved, limits that are not set replaced by the default
// ones. Whether a service runs is for the caller to decide (Protocol).
func Services(c *Config) ([]Service, error) {
	m, err := Get[Master](c, Filter{})
	if err != nil {
		return nil, err
	}
	list, err := Get[ServiceList](c, Filter{})
	if err != nil {
		return nil, err
	}
	users := strings.NewReplacer("$default_internal_user", m.DefaultInternalUser,
		"$default_login_user", m.DefaultLoginUser, "$default_internal_group", m.DefaultInternalGroup)
	for i := range list.Services {
		list.Services[i].complete(m, users)
	}
	return list.Services, nil
}

func (s *Service) complete(m *Master, users *strings.Replacer) {
	s.User = users.Replace(s.User)
	s.Group = users.Replace(s.Group)
	s.ExtraGroups = users.Replace(s.ExtraGroups)
	for i := range s.UnixListeners {
		l := &s.UnixListeners[i]
		l.User, l.Group = users.Replace(l.User), users.Replace(l.Group)
	}
	if s.ProcessLimit == 0 {
		s.ProcessLimit = m.DefaultProcessLimit
	}
	if s.ClientLimit == 0 {
		s.ClientLimit = m.DefaultClientLimit
	}
}

package store

import (
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// pluginSettings is the section plugin { }, whose keys may be numbered.
type pluginSettings struct {
	Plugin map[string]string `set:"plugin" doc:"settings of plugins"`
}

var _ = dovecot.Register("mail", pluginSettings{})

// A plugin is what a plugin of a user is told: the section plugin { } with the fields of
// the userdb over it.
type plugin struct {
	u   *User
	set map[string]string
}

// HasPlugin reports whether a word is in mail_plugins.
func (u *User) HasPlugin(name string) bool {
	return strings.Contains(u.set.Plugins, name) && slices.Contains(strings.Fields(u.set.Plugins), name)
}

func (u *User) plugin() (plugin, error) {
	set, err := dovecot.Get[pluginSettings](u.cfg, dovecot.Filter{Service: u.info.Service, Local: u.info.Local, Remote: u.info.Remote})
	if err != nil {
		return plugin{}, err
	}
	return plugin{u, set.Plugin}, nil
}

// PluginSetting returns a setting of a plugin, "" if it is not there.
func (u *User) PluginSetting(key string) (string, error) {
	set, err := u.plugin()
	if err != nil {
		return "", err
	}
	value, _, err := set.get(key)
	return value, err
}

// get returns a setting, its variables expanded; ok is false if it is not there.
func (p plugin) get(key string) (value string, ok bool, err error) {
	if value, ok = p.u.info.Fields[key]; ok {
		return value, true, nil
	}
	if value, ok = p.set[key]; !ok {
		return "", false, nil
	}
	value, err = p.u.Expand(key, value)
	return value, true, err
}

// getBool returns a setting that is on if it is there, whatever it is but "no" or the like.
func (p plugin) getBool(key string) (bool, error) {
	value, ok, err := p.get(key)
	return ok && (value == "" || !strings.ContainsAny(value[:1], "nN0")), err
}

// numbered returns the values of key, key2, key3 and so on.
func (p plugin) numbered(key string) (values []string, err error) {
	for n, k := 2, key; ; n++ {
		value, ok, err := p.get(k)
		if err != nil || !ok {
			return values, err
		}
		values = append(values, value)
		k = key + strconv.Itoa(n)
	}
}

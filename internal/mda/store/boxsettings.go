package store

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// boxSettings returns those of the user's mailboxes: the template's own, unless some depend
// on the user.
func (u *User) boxSettings(t *template) (*mailbox.Settings, error) {
	set := t.box
	own := false
	for _, s := range []struct {
		name  string
		value *string
	}{{"mail_attachment_dir", &set.AttachmentDir}, {"mail_attachment_fs", &set.AttachmentFS}, {"mail_temp_dir", &set.TempDir}} {
		value, err := u.Expand(s.name, *s.value)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(value, "~/") {
			if u.info.Home == "" {
				return nil, fmt.Errorf("Home directory not set for user. Can't expand ~/ for %s", s.name)
			}
			value = u.info.Home + value[1:]
		}
		own = own || value != *s.value
		*s.value = value
	}
	// Plugin settings may come from the userdb.
	for name, value := range map[string]*string{"zlib_save": &set.ZlibSave, "zlib_save_level": &set.ZlibLevel} {
		if v, ok := u.info.Fields[name]; ok {
			own = own || v != *value
			*value = v
		}
	}
	if _, _, err := set.Compression(); err != nil {
		u.log.Errorf("%v", err) // as Dovecot does, and goes on
	}
	if !own {
		return &t.box, nil
	}
	return &set, nil
}

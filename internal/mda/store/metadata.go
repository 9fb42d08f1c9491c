package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dictfile"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// MetadataSettings say where attributes of mailboxes are kept (RFC 5464).
type MetadataSettings struct {
	Dict    string `set:"mail_attribute_dict" vars:"yes" doc:"dictionary for mailbox attributes (METADATA)"`
	Comment string `set:"mail_server_comment" doc:"the server's /shared/comment attribute"`
	Admin   string `set:"mail_server_admin" doc:"the server's /shared/admin attribute, an URI"`
}

var _ = dovecot.Register("mail", MetadataSettings{})

// serverPrefix begins the keys of the server's attributes, which are kept with those
// of INBOX.
const serverPrefix = "vendor/vendor.dovecot/pvt/server/"

// An Attribute names one attribute of a mailbox, or of the server if Mailbox is
// empty. Key is in lower case, without "/private/" or "/shared/".
type Attribute struct {
	Mailbox string
	Shared  bool
	Key     string
}

// normal returns the mailbox and key under which the attribute is kept.
func (a Attribute) normal() (name, key string) {
	if a.Mailbox == "" {
		return inbox, serverPrefix + a.Key
	}
	return a.Mailbox, a.Key
}

// errNoMetadata is the error where no dictionary is configured.
var errNoMetadata = &Error{Code: CodeCannot, Text: "Mailbox attributes not enabled"}

// metadata is the dictionary of a user, with the settings.
type metadata struct {
	set  MetadataSettings
	dict *dictfile.Dict // nil if none is configured
}

func (u *User) metadata() (*metadata, error) {
	m := new(metadata)
	if err := u.cfg.Decode(dovecot.Filter{Service: u.info.Service, Local: u.info.Local, Remote: u.info.Remote}, &m.set); err != nil {
		return nil, err
	}
	if m.set.Dict == "" {
		return m, nil
	}
	uri, err := u.Expand("mail_attribute_dict", m.set.Dict)
	if err != nil {
		return nil, err
	}
	driver, path, _ := strings.Cut(uri, ":")
	if driver != "file" {
		return nil, fmt.Errorf("mail_attribute_dict: dict_init(%s) failed: Unknown dict module: %s", uri, driver)
	}
	if m.dict, err = dictfile.New(path, u.info.Home); err != nil {
		return nil, fmt.Errorf("mail_attribute_dict: dict_init(%s) failed: %w", uri, err)
	}
	return m, nil
}

// dictKey is the key of an attribute in the dictionary.
func dictKey(shared bool, guid [16]byte, key string) string {
	kind := "priv/"
	if shared {
		kind = "shared/"
	}
	return kind + hex.EncodeToString(guid[:]) + "/" + key
}

// A builtin is an attribute that comes from the configuration.
type builtin struct {
	shared bool
	key    string
	fixed  bool // it cannot be set; otherwise what was set counts before it
	get    func(m *metadata, box *MailboxSetting) string
}

func comment(_ *metadata, box *MailboxSetting) string { return box.Comment }

var builtins = []builtin{
	{false, "comment", false, comment},
	{false, "specialuse", true, func(_ *metadata, box *MailboxSetting) string { return box.SpecialUse }},
	{true, "comment", false, comment},
	{true, serverPrefix + "admin", true, func(m *metadata, _ *MailboxSetting) string { return m.set.Admin }},
	{true, serverPrefix + "comment", true, func(m *metadata, _ *MailboxSetting) string { return m.set.Comment }},
}

// builtinOf returns the built-in attribute of that name.
func builtinOf(name, key string, shared bool) *builtin {
	for i := range builtins {
		b := &builtins[i]
		if b.shared == shared && b.key == key && (name == inbox || !strings.HasPrefix(key, serverPrefix)) {
			return b
		}
	}
	return nil
}

// value is what the configuration says of the attribute for a mailbox.
func (b *builtin) value(u *User, m *metadata, name string) string {
	box := &MailboxSetting{}
	if ns := u.namespaceOf(name); ns != nil && ns.Setting(name) != nil {
		box = ns.Setting(name)
	}
	return b.get(m, box)
}

// Metadata returns the value of an attribute; ok is false if it has none.
func (u *User) Metadata(ctx context.Context, a Attribute) (value string, ok bool, err error) {
	name, key := a.normal()
	m, err := u.metadata()
	if err != nil {
		return "", false, internal(err)
	}
	b := builtinOf(name, key, a.Shared)
	if b != nil && b.fixed {
		value = b.value(u, m, name)
		return value, value != "", nil
	}
	guid, err := u.guidOf(ctx, name)
	if err != nil {
		return "", false, err
	}
	if m.dict == nil {
		return "", false, errNoMetadata
	}
	entries, err := m.dict.Load()
	if err != nil {
		return "", false, internal(err)
	}
	if value, ok = entries[dictKey(a.Shared, guid, key)]; !ok && b != nil {
		value = b.value(u, m, name)
		ok = value != ""
	}
	return value, ok, nil
}

func (u *User) guidOf(ctx context.Context, name string) (guid [16]byte, err error) {
	box, err := u.openFor(ctx, name, toAnnotate)
	if err != nil {
		return guid, err
	}
	defer box.Close()
	return box.GUID(), nil
}

// SetMetadata gives an attribute a value.
func (u *User) SetMetadata(ctx context.Context, a Attribute, value string) error {
	return u.changeMetadata(ctx, a, &value)
}

// UnsetMetadata takes the value of an attribute away. It need not have one.
func (u *User) UnsetMetadata(ctx context.Context, a Attribute) error {
	return u.changeMetadata(ctx, a, nil)
}

func (u *User) changeMetadata(ctx context.Context, a Attribute, value *string) error {
	name, key := a.normal()
	m, err := u.metadata()
	if err != nil {
		return internal(err)
	}
	if b := builtinOf(name, key, a.Shared); b != nil && b.fixed {
		kind := "private"
		if a.Shared {
			kind = "shared"
		}
		return &Error{Code: CodeCannot, Text: fmt.Sprintf("The /%s/%s attribute cannot be changed", kind, key)}
	}
	box, err := u.openFor(ctx, name, toAnnotate)
	if err != nil {
		return err
	}
	defer box.Close()
	if m.dict == nil {
		return errNoMetadata
	}
	change := index.Attribute{Key: key, Set: value != nil, Private: !a.Shared, Time: uint32(time.Now().Unix())}
	full := dictKey(a.Shared, box.GUID(), key)
	err = m.dict.Update(ctx, func(e dictfile.Entries) bool {
		if value == nil {
			_, had := e[full]
			delete(e, full)
			return had
		}
		change.Size = uint32(len(*value))
		e[full] = *value
		return true
	})
	if err == nil {
		err = box.LogAttribute(ctx, change)
	}
	return internal(err)
}

// ListMetadata returns the keys of attributes that begin with a.Key, without that:
// of those that were set and of those that the configuration may give.
func (u *User) ListMetadata(ctx context.Context, a Attribute) ([]string, error) {
	name, prefix := a.normal()
	m, err := u.metadata()
	if err != nil {
		return nil, internal(err)
	}
	fromConfig := listBuiltins(name, prefix, a.Shared, m.dict != nil)
	guid, err := u.guidOf(ctx, name)
	if err != nil || m.dict == nil {
		return fromConfig, err
	}
	entries, err := m.dict.Load()
	if err != nil {
		return fromConfig, internal(err)
	}
	var keys []string
	full := dictKey(a.Shared, guid, prefix)
	for _, key := range entries.Keys(full) {
		if key = key[len(full):]; !slices.Contains(fromConfig, key) {
			keys = append(keys, key)
		}
	}
	return append(keys, fromConfig...), nil
}

func listBuiltins(name, prefix string, shared, haveDict bool) (keys []string) {
	bare := strings.TrimSuffix(prefix, "/")
	for _, b := range builtins {
		if b.shared != shared || !haveDict && !b.fixed || name != inbox && strings.HasPrefix(b.key, serverPrefix) {
			continue
		}
		key, ok := b.key, true
		if bare != "" {
			if key, ok = strings.CutPrefix(key, bare); ok && key != "" {
				key, ok = strings.CutPrefix(key, "/")
			}
		}
		if ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// forgetMetadata removes the attributes of a mailbox that was deleted. What is left
// of them if that fails belongs to no mailbox.
func (u *User) forgetMetadata(ctx context.Context, guid [16]byte) {
	m, err := u.metadata()
	if err == nil && m.dict != nil {
		err = m.dict.Update(ctx, func(e dictfile.Entries) bool {
			n := len(e)
			for _, shared := range []bool{false, true} {
				for _, key := range e.Keys(dictKey(shared, guid, "")) {
					delete(e, key)
				}
			}
			return len(e) < n
		})
	}
	if err != nil {
		u.log.Errorf("Attributes of a deleted mailbox were not removed: %v", err)
	}
}

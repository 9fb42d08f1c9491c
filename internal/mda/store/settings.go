package store

import (
	"slices"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Settings are those that say which mailboxes a user has and where they lie.
type Settings struct {
	Location   string              `set:"mail_location" vars:"yes" doc:"format and path of the mailboxes"`
	Home       string              `set:"mail_home" vars:"yes" doc:"home directory of users without one in the userdb"`
	Namespaces []namespaceSettings `set:"namespace" doc:"named namespaces"`

	ListIndex      bool `set:"mailbox_list_index" default:"yes" doc:"keep dovecot.list.index"`
	ListIndexDirty bool `set:"mailbox_list_index_very_dirty_syncs" default:"no" doc:"trust the list index without checking the mailboxes"`
	ListIndexInbox bool `set:"mailbox_list_index_include_inbox" default:"no" doc:"keep INBOX status in the list index"`
}

// Shares tells whether a user may see mail of others: whether there are shared or public namespaces.
func Shares(cfg *dovecot.Config, f dovecot.Filter) (bool, error) {
	set, err := dovecot.Get[Settings](cfg, f)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(set.Namespaces, func(ns namespaceSettings) bool { return ns.Type != "private" && !ns.Disabled }), nil
}

type namespaceSettings struct {
	Name            string           `set:"name" doc:"name (taken from the section name)"`
	Type            string           `set:"type" default:"private" enum:"private|shared|public" doc:"owner class of the namespace"`
	Separator       string           `set:"separator" doc:"hierarchy separator, empty for the storage default"`
	Prefix          string           `set:"prefix" vars:"yes" doc:"prefix of its mailbox names"`
	Location        string           `set:"location" vars:"yes" doc:"location, empty for mail_location"`
	AliasFor        string           `set:"alias_for" vars:"yes" doc:"prefix of the namespace this one is another name of"`
	Inbox           bool             `set:"inbox" default:"no" doc:"INBOX lives here"`
	Hidden          bool             `set:"hidden" default:"no" doc:"leave out of NAMESPACE replies"`
	List            string           `set:"list" default:"yes" enum:"yes|no|children" doc:"list its mailboxes, children only when the user may see any"`
	Subscriptions   bool             `set:"subscriptions" default:"yes" doc:"keeps its own subscriptions file"`
	IgnoreOnFailure bool             `set:"ignore_on_failure" default:"no" doc:"go on without it when it cannot be initialised"`
	Disabled        bool             `set:"disabled" default:"no" doc:"ignore this namespace"`
	Order           uint32           `set:"order" default:"0" doc:"order of namespaces in NAMESPACE replies, lowest first"`
	Mailboxes       []MailboxSetting `set:"mailbox" doc:"mailbox definitions with special-use and autocreation"`
}

// A MailboxSetting is a "mailbox" section of a namespace.
type MailboxSetting struct {
	Name       string `set:"name" doc:"mailbox name (taken from the section name)"`
	Auto       string `set:"auto" default:"no" enum:"no|create|subscribe" doc:"create automatically, or also subscribe"`
	SpecialUse string `set:"special_use" doc:"space separated special-use attributes"`
	Comment    string `set:"comment" doc:"the mailbox's comment attribute, unless a user set one"`

	AutoExpunge    time.Duration `set:"autoexpunge" default:"0" doc:"expunge messages saved longer ago than this when a session ends; 0 for never"`
	AutoExpungeMax uint32        `set:"autoexpunge_max_mails" default:"0" doc:"expunge the oldest messages over this number when a session ends; 0 for no limit"`
}

var _ = dovecot.Register("mail", Settings{})

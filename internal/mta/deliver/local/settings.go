package local

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of local(8) besides those of the privileged process.
type Settings struct {
	AliasMaps             string `set:"alias_maps" doc:"alias databases of local delivery"`
	AllowCommands         string `set:"allow_mail_to_commands" default:"alias, forward" doc:"where \"|command\" may stand: alias, forward, include"`
	AllowFiles            string `set:"allow_mail_to_files" default:"alias, forward" doc:"where \"/file\" may stand: alias, forward, include"`
	CommandFilter         string `set:"command_expansion_filter" nonempty:"yes" doc:"characters allowed in the environment of commands"`
	DuplicateLimit        int    `set:"duplicate_filter_limit" default:"1000" doc:"destinations remembered so that they get mail once; 0 is no limit"`
	ExpandOwner           bool   `set:"expand_owner_alias" default:"no" doc:"the sender of mail to a list is what its owner- alias expands to, not the alias"`
	FallbackTransport     string `set:"fallback_transport" doc:"transport of mail to unknown users"`
	FallbackTransportMaps string `set:"fallback_transport_maps" doc:"the same by user"`
	ForwardPath           string `set:"forward_path" raw:"yes" doc:"files with forwarding instructions of a user"`
	FrozenDeliveredTo     bool   `set:"frozen_delivered_to" default:"yes" doc:"Delivered-To names the recipient before its expansion"`
	LuserRelay            string `set:"luser_relay" raw:"yes" doc:"address that gets mail to unknown users"`
	MailboxCommand        string `set:"mailbox_command" raw:"yes" doc:"command that gets mail instead of a mailbox"`
	MailboxCommandMaps    string `set:"mailbox_command_maps" doc:"the same by user"`
	MailboxTransport      string `set:"mailbox_transport" doc:"transport of mail to local mailboxes"`
	MailboxTransportMaps  string `set:"mailbox_transport_maps" doc:"the same by user"`
	PrependDelivered      string `set:"prepend_delivered_header" default:"command, file, forward" doc:"deliveries that get a Delivered-To header"`
	PropagateExtensions   string `set:"propagate_unmatched_extensions" default:"canonical, virtual" doc:"expansions whose results get the extension that the key had not: alias, forward, include"`
	RequireHome           bool   `set:"require_home_directory" default:"no" doc:"defer mail to users whose home directory is not there"`
	ResetOwner            bool   `set:"reset_owner_alias" default:"no" doc:"an alias without owner- alias ends the one of the list it is in"`
	OriginalRecipient     bool   `set:"enable_original_recipient" default:"yes" doc:"add an X-Original-To header"`
	HomeMailbox           string `set:"home_mailbox" doc:"mailbox below the home directory; with a slash at the end a Maildir"`
	SpoolDirectory        string `set:"mail_spool_directory" doc:"directory of mailboxes named after users; with a slash at the end of Maildirs"`
	LineLimit             int    `set:"line_length_limit" default:"2048" doc:"longest piece of an :include: or .forward file that is read at once"`
}

var _ = postfix.Register("local", Settings{})

// words are what a parameter lists, of some that are known.
func words(param, value string, known ...string) (map[string]bool, error) {
	set := make(map[string]bool)
	for _, word := range postfix.SplitList(value) {
		found := false
		for _, k := range known {
			if strings.EqualFold(word, k) {
				set[k], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("unknown %s value \"%s\" in \"%s\"", param, word, value)
		}
	}
	return set, nil
}

// Where a destination stands, in the words of allow_mail_to_commands.
const (
	inAlias   = "alias"
	inForward = "forward"
	inInclude = "include"
)

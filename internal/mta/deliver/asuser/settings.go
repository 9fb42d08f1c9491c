package asuser

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of mailboxes and commands that the privileged
// process goes by.
type Settings struct {
	DefaultPrivs       string        `set:"default_privs" nonempty:"yes" doc:"user of deliveries to commands and files by default"`
	HomeMailbox        string        `set:"home_mailbox" doc:"mailbox below the home directory; with a slash at the end a Maildir"`
	SpoolDirectory     string        `set:"mail_spool_directory" doc:"directory of mailboxes named after users; with a slash at the end of Maildirs"`
	DeliveryLock       string        `set:"mailbox_delivery_lock" nonempty:"yes" doc:"how mailbox files are locked: fcntl, flock, dotlock"`
	SizeLimit          int64         `set:"mailbox_size_limit" default:"51200000" doc:"largest mailbox or Maildir file in bytes; 0 is no limit"`
	StrictOwnership    bool          `set:"strict_mailbox_ownership" default:"yes" doc:"defer mail for a mailbox file of another owner"`
	LockAttempts       int           `set:"deliver_lock_attempts" default:"20" min:"1" doc:"tries to lock a mailbox file"`
	LockDelay          time.Duration `set:"deliver_lock_delay" default:"1s" unit:"s" min:"1" doc:"time between tries to lock a mailbox file"`
	StaleLock          time.Duration `set:"stale_lock_time" default:"500s" unit:"s" min:"1" doc:"age at which a lock file is removed"`
	CommandTimeLimit   time.Duration `set:"command_time_limit" default:"1000s" unit:"s" min:"1" doc:"how long a command may run"`
	Shell              string        `set:"local_command_shell" doc:"shell of commands; empty for /bin/sh, and only where it is needed"`
	ExecDirectory      string        `set:"command_execution_directory" raw:"yes" doc:"working directory of commands"`
	ExecFilter         string        `set:"execution_directory_expansion_filter" nonempty:"yes" doc:"characters allowed in expansions of command_execution_directory"`
	AllowCommands      string        `set:"allow_mail_to_commands" default:"alias, forward" doc:"where \"|command\" may stand: alias, forward, include"`
	AllowFiles         string        `set:"allow_mail_to_files" default:"alias, forward" doc:"where \"/file\" may stand: alias, forward, include"`
	MailboxCommand     string        `set:"mailbox_command" raw:"yes" doc:"command that gets mail instead of a mailbox"`
	MailboxCommandMaps string        `set:"mailbox_command_maps" doc:"the same by user"`
	ImportEnvironment  string        `set:"import_environment" nonempty:"no" doc:"environment that the mail system keeps: names of variables, or name=value"`
	ExportEnvironment  string        `set:"export_environment" default:"TZ MAIL_CONFIG LANG" doc:"environment of commands: names of variables, or name=value"`
	ForwardPath        string        `set:"forward_path" raw:"yes" doc:"files with forwarding instructions of a user"`
	ForwardFilter      string        `set:"forward_expansion_filter" nonempty:"yes" doc:"characters allowed in expansions of forward_path"`
	AliasMaps          string        `set:"alias_maps" doc:"alias databases of local delivery"`
	SunMailtool        bool          `set:"sun_mailtool_compatibility" default:"no" doc:"obsolete: lock with dotlock only"`
	VirtualMinimumUID  int           `set:"virtual_minimum_uid" default:"100" min:"1" doc:"smallest uid of a virtual mailbox"`
	VirtualSizeLimit   int64         `set:"virtual_mailbox_limit" default:"51200000" doc:"largest virtual mailbox or Maildir file in bytes; 0 is no limit"`
	VirtualLock        string        `set:"virtual_mailbox_lock" nonempty:"yes" doc:"how virtual mailbox files are locked"`
}

var _ = postfix.Register("local", Settings{})

// virtual_mailbox_base must have a value where virtual(8) is used, and only there.
var _ = postfix.RegisterNames("virtual", "virtual_mailbox_base")

// VirtualBase is virtual_mailbox_base. The error is Postfix's.
func VirtualBase(main *postfix.Main) (string, error) {
	base, _, err := main.Expand("virtual_mailbox_base")
	switch {
	case err != nil:
		return "", err
	case base == "":
		return "", errors.New("bad string length 0 < 1: virtual_mailbox_base = ")
	case base[0] != '/':
		return "", fmt.Errorf("do not specify relative pathname: virtual_mailbox_base = %s", base)
	}
	return base, nil
}

// Locks are the ways to lock a mailbox file.
type Locks struct {
	Fcntl, Flock, Dot bool
	DotMayFail        bool // a lock file that cannot be made is only warned about
	Attempts          int
	Delay, Stale      time.Duration
}

// parseLocks reads the value of a parameter.
func parseLocks(param, value string) (Locks, error) {
	var l Locks
	for _, word := range postfix.SplitList(value) {
		switch strings.ToLower(word) {
		case "fcntl":
			l.Fcntl = true
		case "flock":
			l.Flock = true
		case "dotlock":
			l.Dot = true
		default:
			return l, fmt.Errorf("unknown %s value \"%s\" in \"%s\"", param, word, value)
		}
	}
	if !l.Fcntl && !l.Flock && !l.Dot {
		return l, fmt.Errorf("parameter %s specifies no applicable mailbox locking method", param)
	}
	return l, nil
}

func (s *Settings) locks(param, value string) (Locks, error) {
	l, err := parseLocks(param, value)
	l.Attempts, l.Delay, l.Stale = s.LockAttempts, s.LockDelay, s.StaleLock
	return l, err
}

// mailboxLocks are those of local mailboxes.
func (s *Settings) mailboxLocks() (Locks, error) {
	l, err := s.locks("mailbox_delivery_lock", s.DeliveryLock)
	if err == nil && s.SunMailtool {
		l.Fcntl, l.Flock = false, false
		if !l.Dot {
			err = fmt.Errorf("parameter mailbox_delivery_lock specifies no applicable mailbox locking method")
		}
	}
	return l, err
}

// Check makes the checks of a delivery agent's start, for the parameters of
// local(8) or of virtual(8).
func Check(main *postfix.Main, virtual bool) error {
	s, err := postfix.Get[Settings](main)
	if err != nil {
		return err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	param, limit := "mailbox_size_limit", s.SizeLimit
	if virtual {
		param, limit = "virtual_mailbox_limit", s.VirtualSizeLimit
		_, err = s.locks("virtual_mailbox_lock", s.VirtualLock)
	} else {
		_, err = s.mailboxLocks()
	}
	switch {
	case err != nil:
		return err
	case limit > 0 && core.MessageSizeLimit <= 0:
		return fmt.Errorf("configuration error: %s is limited but message_size_limit is unlimited", param)
	case limit > 0 && limit < core.MessageSizeLimit:
		return fmt.Errorf("configuration error: %s is smaller than message_size_limit", param)
	}
	return nil
}

// TimeLimit is NAME_time_limit of a pipe(8) or spawn(8) service, or command_time_limit.
func (s *Service) TimeLimit() (time.Duration, error) {
	value, ok, err := s.Main.Expand(s.Entry.Name + "_time_limit")
	if err != nil || !ok || value == "" {
		return s.set.CommandTimeLimit, err
	}
	d, ok := postfix.ParseTime(value, 's')
	if !ok || d < time.Second {
		return 0, fmt.Errorf("parameter %s_time_limit: bad time value or unit: %s", s.Entry.Name, value)
	}
	return d, nil
}

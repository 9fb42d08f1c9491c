package asuser

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// An Op is what is asked of the privileged process.
type Op string

// The operations.
const (
	OpUser    Op = "user"    // find the user named User
	OpUserID  Op = "uid"     // find the user with UID
	OpHome    Op = "home"    // is the home directory of User there?
	OpForward Op = "forward" // find and open the .forward file of User
	OpInclude Op = "include" // open the :include: file Path
	OpMailbox Op = "mailbox" // deliver to the mailbox of User
	OpFile    Op = "file"    // deliver to Path as User
	OpVirtual Op = "virtual" // deliver to the virtual mailbox Path as UID and GID
	OpCommand Op = "command" // deliver to Command as User
	OpPipe    Op = "pipe"    // deliver to Argv as the entry Service says
)

// A Request asks for one operation.
type Request struct {
	ID      uint64            `json:"id"`
	Op      Op                `json:"op"`
	Service string            `json:"service,omitempty"` // entry of master.cf whose settings count
	User    string            `json:"user,omitempty"`    // whose rights; empty for default_privs
	UID     uint32            `json:"uid,omitempty"`
	GID     uint32            `json:"gid,omitempty"`
	Path    string            `json:"path,omitempty"`
	Via     []string          `json:"via,omitempty"`  // of an :include: as root: the alias, then the files in between
	Vars    map[string]string `json:"vars,omitempty"` // for forward_path and command_execution_directory
	Command string            `json:"command,omitempty"`
	Argv    []string          `json:"argv,omitempty"`
	Env     []string          `json:"env,omitempty"` // name=value, besides export_environment
	Copy    Copy              `json:"copy,omitzero"`
}

// A Reply answers a request. Codes and reasons are those of Postfix.
type Reply struct {
	ID       uint64   `json:"id"`
	DSN      string   `json:"dsn,omitempty"` // of a failure; empty for success
	Reason   string   `json:"reason,omitempty"`
	Detail   string   `json:"detail,omitempty"`   // diagnostic of a command
	Output   string   `json:"output,omitempty"`   // of a command that succeeded
	Warnings []string `json:"warnings,omitempty"` // to be logged
	Fatal    string   `json:"fatal,omitempty"`    // the same, of a command that cannot be started
	User     *User    `json:"user,omitempty"`     // found, and who the operation was made as
	Found    bool     `json:"found,omitempty"`    // of a .forward file
	// NotRegular says that the mailbox is no regular file.
	NotRegular bool   `json:"not_regular,omitempty"`
	Path       string `json:"path,omitempty"`     // what was found
	Extended   bool   `json:"extended,omitempty"` // its name uses the address extension
	Error      string `json:"error,omitempty"`    // the request was refused or went wrong
}

// A User is a user of the system.
type User struct {
	Name  string `json:"name"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
}

// A job is what a helper is asked to do.
type job struct {
	Do     string        `json:"do"` // stat, open, include, mbox, file, maildir
	Paths  []string      `json:"paths"`
	Copy   Copy          `json:"copy,omitzero"`
	Locks  Locks         `json:"locks,omitzero"`
	Limit  int64         `json:"limit,omitempty"`
	Owner  int64         `json:"owner"`            // of the mailbox; -1 for any
	Chown  *[2]uint32    `json:"chown,omitempty"`  // new files are given away
	DSN    string        `json:"dsn,omitempty"`    // of failures that have no better
	Host   string        `json:"host,omitempty"`   // in names of Maildir files
	Strict bool          `json:"strict,omitempty"` // strict_mailbox_ownership
	Wait   time.Duration `json:"wait,omitempty"`
}

// A result is what a helper says.
type result struct {
	DSN      string   `json:"dsn,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Detail   string   `json:"detail,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Index    int      `json:"index"`             // which path; -1 for none
	Special  bool     `json:"special,omitempty"` // the mailbox is no regular file
	UID      uint32   `json:"uid,omitempty"`
	Errno    int      `json:"errno,omitempty"`
}

// A Service is an entry of master.cf as the server needs it.
type Service struct {
	Main    *postfix.Main // with the entry's overrides
	Entry   *postfix.ServiceEntry
	set     *Settings
	core    *postfix.Core
	pipe    *PipeEntry // of pipe(8)
	local   Locks
	virtual Locks
	grants  *includes
}

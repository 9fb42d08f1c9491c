package mail

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// Kinds of control messages, besides those of every process.
const (
	KindLogin     = "login"     // a connection: login → master → mail
	KindReply     = "reply"     // handoff.Reply: master → login
	KindAccepted  = "accepted"  // whether a connection is wanted: mail → master
	KindIdle      = "idle"      // mail → master: no sessions left
	KindDeliver   = "deliver"   // a message: lmtp → master → mail of another uid
	KindRecover   = "recover"   // mail of another uid must be recovered: mail → master → mail of that uid
	KindDelivered = "delivered" // the outcome of either, the way back
)

// Login is a connection for a mail process; its socket is attached.
type Login struct {
	ID    uint64         `json:"id"` // repeated in the answer
	Login handoff.Login  `json:"login"`
	User  store.UserInfo `json:"user"`
}

// Accepted is the answer to a [Login]. If it is refused the login process tells the
// client so.
type Accepted struct {
	ID      uint64 `json:"id"`
	Refused string `json:"refused,omitempty"` // why, for the client
	Failed  bool   `json:"failed,omitempty"`  // the reason is the server's and in its log
}

// Idle says that all of the messages received so far are dealt with, the first with the configuration
// included.
type Idle struct {
	Received uint64 `json:"received"`
}

// Delivery is a message for a user of another uid; its content is attached as
// a file.
type Delivery struct {
	ID       uint64         `json:"id"`
	User     store.UserInfo `json:"user"`
	Detail   string         `json:"detail,omitempty"`
	Envelope lmtp.Envelope  `json:"envelope"`
	Size     int64          `json:"size"`

	OnlyCheck bool `json:"only_check,omitempty"` // whether there is room for a message, which is not there yet
}

// Recovery asks for the journals below a directory to be recovered (package journal) by a process of the user to
// whom they belong.
type Recovery struct {
	ID  uint64 `json:"id"`
	Top string `json:"top"`
}

// Delivered is the outcome of a [Delivery] or a [Recovery]. An empty Error is success.
type Delivered struct {
	ID    uint64 `json:"id"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"` // store.Error's
	Full  bool   `json:"full,omitempty"` // the disk is: mailbox.ErrNoSpace
}

// NewUserInfo is the user that an answer of the userdb describes. A uid or gid
// that it does not give is -1.
func NewUserInfo(u *client.User) store.UserInfo {
	info := store.UserInfo{Username: u.Username, UID: u.UID, GID: u.GID, Home: u.Home, Fields: make(map[string]string)}
	for _, f := range u.Fields {
		info.Fields[f.Name] = f.Value
	}
	return info
}

// Vars are the %variables of a user.
func Vars(info *store.UserInfo) *dovecot.Vars {
	name, domain, _ := strings.Cut(info.Username, "@")
	return &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user", Value: info.Username},
		{Key: 'n', Name: "username", Value: name},
		{Key: 'd', Name: "domain", Value: domain},
		{Key: 'h', Name: "home", Value: info.Home},
		{Key: 's', Name: "service", Value: info.Service},
		{Key: 'i', Name: "uid", Value: strconv.Itoa(info.UID)},
		{Name: "gid", Value: strconv.Itoa(info.GID)},
	}}
}

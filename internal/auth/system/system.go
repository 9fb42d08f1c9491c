package system

// A Login is what PAM is asked.
type Login struct {
	Service, User, Password string
	RemoteHost              string
	Session, SetCred        bool
}

// A Code is what an answer of PAM means.
type Code uint8

// The codes.
const (
	Internal Code = iota // nothing is known about the password
	OK
	Mismatch
	Unknown // no such user
	Expired // password or account
)

var codeNames = map[Code]string{Internal: "internal", Mismatch: "mismatch", Unknown: "unknown", Expired: "expired"}

// A Verdict is PAM's answer.
type Verdict struct {
	Code      Code
	User      string // as PAM names it, if OK
	Step      string // the call that failed, and why
	Text      string
	Status    int
	AuthError bool   // PAM_AUTH_ERR: most likely the password
	Message   string // what a module said last
}

// A User is an entry of the name service switch.
type User struct {
	Name, Password string
	UID, GID       uint32
	Home, Shell    string
}

// A Library answers the questions.
type Library struct {
	Authenticate func(*Login) Verdict
	Lookup       func(name string) (*User, error) // nil if there is no such user
	LookupID     func(uid uint32) (*User, error)  // the same by number
	Shadow       func(name string) (hash string, ok bool, err error)
	List         func(fn func(*User) error) error
}

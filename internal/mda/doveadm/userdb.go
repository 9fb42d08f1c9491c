package doveadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp/logprefix"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// lookupTimeout bounds a question to auth, as in Dovecot.
const lookupTimeout = 150 * time.Second

// errNoUser is the answer of the userdb about a user that does not exist.
var errNoUser = errors.New("unknown user")

// errInternal is what follows in the place of an error that was reported.
var errInternal = errors.New("User lookup failed: Internal error occurred. Refer to server log for more information.")

// A userdb is that of the running service, asked through a socket.
type userdb struct {
	s      *session
	socket string
	tag    logprefix.Settings
	conn   *client.MasterClient // once it was needed
	lost   bool                 // auth could not be reached
	lookup client.Lookup        // on whose behalf users are looked up

	service string // the protocol whose settings users have
}

func newUserdb(s *session) (*userdb, error) {
	db := &userdb{s: s, lookup: client.Lookup{Service: "doveadm"}, service: "doveadm"}
	core, err := dovecot.Get[dovecot.Master](s.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, configError(err)
	}
	set, err := dovecot.Get[Settings](s.cfg, dovecot.Filter{Service: "doveadm"})
	if err != nil {
		return nil, configError(err)
	}
	if err := s.cfg.Decode(dovecot.Filter{Service: "doveadm"}, &db.tag); err != nil {
		return nil, configError(err)
	}
	db.socket = set.AuthSocketPath
	if !filepath.IsAbs(db.socket) {
		db.socket = filepath.Join(core.BaseDir, db.socket)
	}
	return db, nil
}

func (db *userdb) close() {
	if db.conn != nil {
		db.conn.Close()
	}
}

// connect connects to auth.
func (db *userdb) connect(ctx context.Context) (*client.MasterClient, error) {
	if db.conn != nil {
		return db.conn, nil
	}
	conn, err := client.DialMaster(ctx, "unix", db.socket, nil)
	if err != nil {
		db.lost = true
		if errno := syscall.Errno(0); errors.As(err, &errno) {
			return nil, fmt.Errorf("connect(%s) failed: %s", db.socket, errnoText(errno))
		}
		return nil, fmt.Errorf("connect(%s) failed: %v", db.socket, err)
	}
	db.conn = conn
	return conn, nil
}

// errnoText is the text of an errno as the C library has it.
func errnoText(errno syscall.Errno) string {
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// user looks a user up. errNoUser if there is none.
func (db *userdb) user(name string) (*store.UserInfo, error) {
	found, err := db.find(name)
	if err != nil {
		return nil, err
	}
	info := mail.NewUserInfo(found)
	info.Service = db.service
	return &info, nil
}

// find is user with all that the userdb says.
func (db *userdb) find(name string) (*client.User, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	conn, err := db.connect(ctx)
	var found client.User
	if err == nil {
		found, err = conn.User(ctx, name, db.lookup)
	}
	if errors.Is(err, client.ErrUnknownUser) {
		return nil, errNoUser
	}
	if refused := (*client.Failure)(nil); errors.As(err, &refused) && refused.Reason != "" {
		return nil, fmt.Errorf("User lookup failed: %s", refused.Reason)
	}
	if err != nil {
		db.report(name, fmt.Errorf("auth-master: userdb lookup(%s): %w", name, err))
		return nil, errInternal
	}
	return &found, nil
}

// owner looks up the home directory of the owner of shared mailboxes.
func (db *userdb) owner(_ context.Context, name string) (home string, found bool, err error) {
	user, err := db.find(name)
	switch {
	case errors.Is(err, errNoUser):
		return "", false, nil
	case err != nil:
		return "", false, err
	}
	return user.Home, true, nil
}

// report prints an error about a user as it would be in the log of a mail process.
func (db *userdb) report(name string, err error) {
	info := store.UserInfo{Username: name, Service: "doveadm", UID: -1, GID: -1}
	was := db.s.log.prefix
	db.s.log.prefix = db.tag.Tag(&info) + ": "
	db.s.log.errorf("%v", err)
	db.s.log.prefix = was
}

// list returns the names of all users that match the mask, as far as the userdbs
// can list them.
func (db *userdb) list(mask string) ([]string, error) {
	ctx := context.Background()
	conn, err := db.connect(ctx)
	if err != nil {
		db.s.log.errorf("auth-master: userdb list: %v", err)
		return nil, errReported
	}
	var names []string
	if mask == "*" {
		mask = ""
	}
	if err := conn.List(ctx, mask, "doveadm", func(name string) { names = append(names, name) }); err != nil {
		db.s.log.errorf("auth-master: userdb list: User listing returned failure")
		return names, errReported
	}
	return names, nil
}

// names returns what calls a function with the names of all users that match the
// mask, until it returns false or there are no more; it reports whether that
// failed.
func (r *mailRun) names(mask string) (each func(func(string) bool) (failed bool), err error) {
	if path, ok := r.in.text("user-file"); ok {
		return r.namesInFile(path, mask), nil
	}
	list, err := r.users.list(mask)
	if len(list) == 0 && err != nil {
		return nil, err
	}
	return func(do func(string) bool) bool {
		for _, name := range list {
			if matchMask(strings.ToLower(name), strings.ToLower(mask)) && !do(name) {
				return true
			}
		}
		return err != nil
	}, nil
}

// namesInFile are the lines of a file; "-" is standard input.
func (r *mailRun) namesInFile(path, mask string) func(func(string) bool) bool {
	return func(do func(string) bool) (failed bool) {
		in := r.in.stdin
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				r.in.log.errorf("read(%s) failed: open(%s) failed: %s", path, path, reason(err))
				return true
			}
			defer f.Close()
			in = f
		}
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			if name := lines.Text(); matchMask(strings.ToLower(name), strings.ToLower(mask)) && !do(name) {
				return true
			}
		}
		if err := lines.Err(); err != nil {
			r.in.log.errorf("read(%s) failed: %s", path, reason(err))
			return true
		}
		return false
	}
}

// reason is why a system call failed, as the C library says it.
func reason(err error) string {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errnoText(errno)
	}
	return err.Error()
}

// matchMask reports whether name matches a mask with * and ?.
func matchMask(name, mask string) bool {
	star, next := -1, 0 // of the last *: behind it in mask, where in name to go on
	n, m := 0, 0
	for n < len(name) {
		switch {
		case m < len(mask) && mask[m] == '*':
			m++
			star, next = m, n
		case m < len(mask) && (mask[m] == '?' || mask[m] == name[n]):
			m, n = m+1, n+1
		case star >= 0:
			next++
			m, n = star, next
		default:
			return false
		}
	}
	return strings.Trim(mask[m:], "*") == ""
}

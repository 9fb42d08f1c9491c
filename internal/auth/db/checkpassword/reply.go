package checkpassword

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// Exit statuses of the answering program.
const (
	StatusOK         = 0
	StatusMismatch   = 1
	StatusAuthorized = 2 // success of a lookup
	StatusUnknown    = 3
	StatusTempFail   = 111
)

// replyFD is the descriptor of the answer.
const replyFD = 4

// A process is what the answering program knows of itself.
type process struct {
	lookup           func(name string) (string, bool) // of the environment
	uid, euid        int
	gid, egid        int
	answer, complain io.Writer
}

// Main is the program checkpassword-reply. It sends what checkpassword programs have
// put into their environment.
func Main(_ []string, _ io.Reader, _, stderr io.Writer) int {
	p := process{
		lookup: os.LookupEnv, uid: os.Getuid(), euid: os.Geteuid(), gid: os.Getgid(), egid: os.Getegid(),
		answer: os.NewFile(replyFD, "descriptor 4"), complain: stderr,
	}
	return p.run()
}

func (p *process) errorf(format string, args ...any) {
	fmt.Fprintf(p.complain, "Error: checkpassword: "+format+"\n", args...)
}

func (p *process) run() int {
	if !p.isSafe() {
		return StatusTempFail
	}
	fields, ok := p.fields()
	if !ok {
		return StatusMismatch
	}
	if _, err := p.answer.Write(fields); err != nil {
		p.errorf("write_full() failed: %v", err)
		return StatusTempFail
	}
	authorized, isLookup := p.lookup("AUTHORIZED")
	switch {
	case !isLookup:
		return StatusOK
	case authorized == "2":
		return StatusAuthorized
	}
	p.errorf("Script doesn't support passdb/userdb lookup")
	return StatusTempFail
}

// isSafe reports whether the answer can be this program's alone. If the
// checkpassword program has changed its user, other processes of that user could write
// to descriptor 4, too, by way of this one.
func (p *process) isSafe() bool {
	orig, hasOrig := p.lookup("ORIG_UID")
	_, insecure := p.lookup("INSECURE_SETUID")
	uid, err := strconv.Atoi(orig)
	if insecure || err == nil && uid == p.uid || p.uid != p.euid || p.gid != p.egid {
		return true
	}
	const more = "See http://wiki2.dovecot.org/AuthDatabase/CheckPassword#Security"
	if !hasOrig {
		p.errorf("ORIG_UID environment was dropped by checkpassword. Can't verify if we're safe to run. %s", more)
	} else {
		p.errorf("The checkpassword couldn't be run securely. %s", more)
	}
	return false
}

// fields returns the answer.
func (p *process) fields() (b []byte, ok bool) {
	add := func(name, value string) {
		b = wire.AppendEscaped(b, name)
		b = append(wire.AppendEscaped(append(b, '='), value), '\t')
	}
	for _, v := range [...]struct{ variable, field string }{{"USER", "user"}, {"HOME", "userdb_home"}} {
		value, ok := p.lookup(v.variable)
		if strings.Contains(value, "\t") {
			p.errorf("%s contains TAB", v.variable)
			return nil, false
		}
		if ok {
			add(v.field, value)
		}
	}
	extra, _ := p.lookup("EXTRA")
	hasUID, hasGID := false, false
	for variable := range strings.FieldsFuncSeq(extra, func(r rune) bool { return r == ' ' }) {
		value, ok := p.lookup(variable)
		if !ok {
			continue
		}
		field := strings.ToLower(variable)
		hasUID, hasGID = hasUID || field == "userdb_uid", hasGID || field == "userdb_gid"
		add(field, value)
	}
	if !hasUID {
		add("userdb_uid", strconv.Itoa(p.uid))
	}
	if !hasGID {
		add("userdb_gid", strconv.Itoa(p.gid))
	}
	return b, true
}

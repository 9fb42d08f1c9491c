package asuser

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/master"
)

// RoleHelper is the role of the processes that work as one user.
const RoleHelper = "local-user"

// Messages between the server and a helper.
const (
	kindJob  = "job"
	kindDone = "done"
)

// RunHelper is the life of a helper: it becomes its user and does what it is
// told until its server is gone.
func RunHelper(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	unix.Umask(0o077)
	for {
		msg, err := p.Control.Receive()
		if err != nil {
			return nil
		}
		if msg.Kind != kindJob {
			msg.CloseFiles()
			continue
		}
		if err := serveJob(p.Control, &msg); err != nil {
			return err
		}
	}
}

func serveJob(control *master.Conn, msg *master.Message) error {
	defer msg.CloseFiles()
	var j job
	if err := msg.Decode(&j); err != nil {
		return err
	}
	r := result{Index: -1}
	f := j.run(msg.Files, &r)
	if f == nil {
		return control.Send(kindDone, &r)
	}
	defer f.Close()
	return control.Send(kindDone, &r, f)
}

// run does the job. A file that it opens for somebody is returned.
func (j *job) run(files []*os.File, r *result) *os.File {
	if len(j.Paths) == 0 {
		r.fail("4.3.0", "no path given")
		return nil
	}
	var content io.Reader
	if len(files) > 0 {
		st, err := files[0].Stat()
		if err != nil {
			r.fail("4.3.0", "error reading message: "+reason(err))
			return nil
		}
		content = io.NewSectionReader(files[0], 0, st.Size())
	}
	switch j.Do {
	case "stat":
		var st unix.Stat_t
		if err := unix.Stat(j.Paths[0], &st); err != nil {
			r.Errno = int(errno(err))
		}
	case "forward":
		return j.forward(r)
	case "include":
		return j.include(r)
	case "mbox", "file", "maildir":
		if content == nil {
			r.fail("4.3.0", "no message given")
			return nil
		}
		if j.Do == "maildir" {
			j.maildir(content, r)
		} else {
			j.mbox(content, r)
		}
	default:
		r.fail("4.3.0", fmt.Sprintf("unknown job %q", j.Do))
	}
	return nil
}

// forward opens the first of the files that is there, if it can be trusted.
func (j *job) forward(r *result) *os.File {
	for i, path := range j.Paths {
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			continue
		}
		r.Index = i
		switch {
		case st.Mode&unix.S_IFMT != unix.S_IFREG:
			r.warnf("file %s is not a regular file", path)
		case st.Uid != 0 && int64(st.Uid) != j.Owner && j.Owner >= 0:
			r.warnf("file %s has bad owner uid %d", path, st.Uid)
		case st.Mode&0o002 != 0:
			r.warnf("file %s is world writable", path)
		default:
			f, err := openRead(path, &st)
			if err != nil {
				r.warnf("cannot open file %s: %s", path, reason(err))
			}
			return f
		}
		return nil
	}
	return nil
}

// openRead opens a file for reading if it is still the one that was looked at.
func openRead(path string, st *unix.Stat_t) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Dev != st.Dev || now.Ino != st.Ino {
		unix.Close(fd)
		return nil, unix.ESTALE
	}
	return os.NewFile(uintptr(fd), path), nil
}

// include opens an :include: file. It may be behind a symbolic link.
func (j *job) include(r *result) *os.File {
	path := j.Paths[0]
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		r.warnf("unable to lookup :include: file %s: %s", path, reason(err))
		r.fail("5.3.5", "mail system configuration error")
		return nil
	}
	r.UID = st.Uid
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		r.warnf(":include: file %s is not a regular file", path)
		r.fail("5.3.5", "mail system configuration error")
		return nil
	case st.Mode&0o002 != 0:
		r.warnf(":include: file %s is world writable", path)
		r.fail("5.3.5", "mail system configuration error")
		return nil
	}
	f, err := openRead(path, &st)
	if err != nil {
		r.warnf("cannot open include file %s: %s", path, reason(err))
		r.fail("5.3.5", "mail system configuration error")
	}
	return f
}

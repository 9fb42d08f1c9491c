package service

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// An inspection looks at owners and modes of files, as "postfix check" does, in the
// words of Postfix's script.
type inspection struct {
	v *invocation
	o owners
}

// inspect warns of files that somebody else could change, or that the mail system
// cannot use.
func (v *invocation) inspect() {
	o, err := findOwners(v.core)
	if err != nil {
		return // said already, where it matters
	}
	i := &inspection{v, o}
	queue := v.core.QueueDirectory
	for _, name := range []string{queue + "/.", queue + "/pid"} {
		i.ownedByRoot(name)
		i.notWritable(name)
	}
	i.tree(v.dir+"/.", i.configuration)
	i.tree(v.install.DataDirectory+"/.", func(path string, info fs.FileInfo) {
		i.ownedByMail(path, info)
		i.notWritable(path)
	})
	for _, name := range append([]string{"private", "public", "segments", "tools"}, postfixQueues...) {
		i.tree(queue+"/"+name, func(path string, info fs.FileInfo) {
			if info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) == 0 {
				i.ownedByMail(path, info)
			}
		})
	}
	// Not into the maildrop: what users put there is not to be believed.
	if info, err := os.Lstat(queue + "/maildrop"); err == nil {
		i.ownedByMail(queue+"/maildrop", info)
	}
	i.ownedByGroup(queue + "/public")
	i.ownedByGroup(queue + "/maildrop")
	i.chrootCopies()
	i.damaged()
	if !v.secondary() {
		i.commands()
	}
}

func (i *inspection) warn(text string) { i.v.say(maillog.Warning, "warning: ", text) }

// tree calls look for a directory and all that is in it. What cannot be seen is
// not looked at.
func (i *inspection) tree(root string, look func(path string, info fs.FileInfo)) {
	info, err := os.Lstat(root)
	if err != nil {
		return
	}
	look(root, info)
	if !info.IsDir() {
		return
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := root + "/" + e.Name()
		if e.IsDir() {
			i.tree(path, look)
		} else if info, err := e.Info(); err == nil {
			look(path, info)
		}
	}
}

// configuration looks at a file of the configuration. A link must stay in its
// directory, or else name a file that root alone can change.
func (i *inspection) configuration(path string, info fs.FileInfo) {
	i.ownedByRoot(path)
	i.notWritable(path)
	if info.Mode()&fs.ModeSymlink == 0 || strings.HasSuffix(path, "/./makedefs.out") {
		return
	}
	if to, err := os.Readlink(path); err == nil && strings.Contains(to, "/") {
		i.warn("symlink leaves directory: " + path)
	}
}

func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

func (i *inspection) ownedByRoot(path string) {
	if info, err := os.Lstat(path); err == nil && stat(info).Uid != 0 {
		i.warn("not owned by root: " + path)
	}
}

func (i *inspection) ownedByMail(path string, info fs.FileInfo) {
	if int(stat(info).Uid) != i.o.mail {
		i.warn("not owned by " + i.v.core.MailOwner + ": " + path)
	}
}

// notWritable looks at what a link names.
func (i *inspection) notWritable(path string) {
	const others = 0o022
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&others != 0 {
		i.warn("group or other writable: " + path)
	}
}

func (i *inspection) ownedByGroup(path string) {
	if info, err := os.Lstat(path); err == nil && int(stat(info).Gid) != i.o.group {
		i.warn("not owned by group " + i.v.core.SetgidGroup + ": " + path)
	}
}

// chrootCopies compares the copies that a chroot environment in the queue directory
// has of the system's files. Nothing runs there, but going back to Postfix they count.
func (i *inspection) chrootCopies() {
	queue := i.v.core.QueueDirectory
	for _, name := range []string{"bin", "etc", "lib", "sbin", "usr"} {
		i.tree(queue+"/"+name, func(path string, info fs.FileInfo) {
			i.ownedByRoot(path)
			original := strings.TrimPrefix(path, queue)
			if there, err := os.Stat(original); info.Mode().IsRegular() && err == nil && there.Mode().IsRegular() && !sameContent(path, original) {
				i.warn(path + " and " + original + " differ")
			}
		})
	}
}

// damaged tells of messages that Postfix could not read.
func (i *inspection) damaged() {
	queue := i.v.core.QueueDirectory
	i.tree(queue+"/corrupt", func(path string, info fs.FileInfo) {
		if info.Mode().IsRegular() {
			i.warn("damaged message: " + strings.TrimPrefix(path, queue+"/"))
		}
	})
}

// commands looks at the programs that users start.
func (i *inspection) commands() {
	const setgidExecutable = 0o111
	for _, name := range []string{"postqueue", "postdrop"} {
		path := filepath.Join(i.v.install.CommandDirectory, name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) && name == "postdrop" {
			i.warn("no " + path + ": users cannot submit mail with sendmail")
		}
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			continue // a link is a name of the one program that needs no rights
		}
		i.ownedByGroup(path)
		if mode := info.Mode(); mode&fs.ModeSetgid == 0 || mode&setgidExecutable != setgidExecutable {
			i.warn("not set-gid or not owner+group+world executable: " + path)
		}
	}
	const sbin, lib = "/usr/sbin/sendmail", "/usr/lib/sendmail"
	a, errA := os.Stat(sbin)
	b, errB := os.Stat(lib)
	if errA == nil && errB == nil && a.Mode().IsRegular() && b.Mode().IsRegular() && !os.SameFile(a, b) && !sameContent(sbin, lib) {
		i.warn(lib + " and " + sbin + " differ")
		i.warn("Replace one by a symbolic link to the other")
	}
}

// sameContent compares two files. What cannot be read differs.
func sameContent(a, b string) bool {
	fa, err := os.Open(a)
	if err != nil {
		return false
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false
	}
	defer fb.Close()
	const piece = 64 << 10
	bufs := [2][]byte{make([]byte, piece), make([]byte, piece)}
	for {
		n, errA := io.ReadFull(fa, bufs[0])
		m, errB := io.ReadFull(fb, bufs[1])
		if !bytes.Equal(bufs[0][:n], bufs[1][:m]) {
			return false
		}
		if errA != nil || errB != nil {
			ends := []error{io.EOF, io.ErrUnexpectedEOF}
			return slices.Contains(ends, errA) && slices.Contains(ends, errB)
		}
	}
}

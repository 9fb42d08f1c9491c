package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

// A quotaMaildir is the backend maildir: Maildir++'s file maildirsize has the usage, and the limits where the
// configuration has none for all mailboxes.
type quotaMaildir struct {
	q    *userQuota
	r    *quotaRoot
	base quota.Limit
	path string     // "" if there is no file
	ns   *Namespace // where the file is
}

func newQuotaMaildir(q *userQuota, r *quotaRoot) *quotaMaildir {
	m := &quotaMaildir{q: q, r: r, base: r.Base}
	list := q.namespaces(r)
	if len(list) == 0 {
		return m
	}
	m.ns = list[0]
	if m.ns.st.format != "maildir" {
		q.u.log.Warningf("quota-maildir: Namespace '%s' is not Maildir, skipping for Maildir++ quota", m.ns.Prefix)
		return m
	}
	m.path = filepath.Join(m.ns.st.controlRoot(), quota.MaildirsizeName)
	return m
}

func (m *quotaMaildir) tracks() bool { return true }

func (m *quotaMaildir) close() {}

func (m *quotaMaildir) usage(ctx context.Context) (quota.Usage, quota.Limit, error) {
	used, _, err := m.refresh(ctx)
	return used, m.base, err
}

// refresh reads the file, or makes it anew if need be, which fresh tells.
func (m *quotaMaildir) refresh(ctx context.Context) (used quota.Usage, fresh bool, err error) {
	if m.path == "" {
		return used, false, nil
	}
	used, ok, err := m.read()
	if ok || err != nil {
		return used, false, err
	}
	if m.base == (quota.Limit{}) && !m.r.Forced {
		return used, false, nil // there is no quota until a file says so
	}
	used, err = m.write(ctx)
	return used, true, err
}

// read reads the file. ok is false if it has to be made anew.
func (m *quotaMaildir) read() (used quota.Usage, ok bool, err error) {
	f, err := os.Open(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return used, false, nil
	}
	if err != nil {
		return used, false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return used, false, err
	}
	text, err := io.ReadAll(io.LimitReader(f, quota.MaildirsizeMax))
	if err != nil {
		return used, false, err
	}
	size, known, ok := quota.ParseMaildirsize(text)
	if known && size.Limit != m.base {
		if m.r.Forced {
			return used, false, nil
		}
		m.base = size.Limit
	}
	return size.Usage, ok && size.Believable(m.base, st.ModTime(), time.Now()), nil
}

func (m *quotaMaildir) add(ctx context.Context, diff quota.Usage) error {
	if m.path == "" || diff == (quota.Usage{}) {
		return nil
	}
	_, fresh, err := m.refresh(ctx)
	if fresh || err != nil { // it was made of all messages that there are now
		return err
	}
	f, err := os.OpenFile(m.path, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return m.recalculate(ctx)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(quota.AppendChange(nil, diff))
	return errors.Join(err, f.Close())
}

func (m *quotaMaildir) recalculate(ctx context.Context) error {
	if m.path == "" {
		return nil
	}
	_, err := m.write(ctx)
	return err
}

// write makes the file anew, unless messages come or go meanwhile.
func (m *quotaMaildir) write(ctx context.Context) (used quota.Usage, err error) {
	used, newest, err := m.sum(ctx)
	if err != nil {
		return used, err
	}
	changed, err := m.changedSince(newest)
	if err != nil {
		return used, err
	}
	if changed {
		if m.r.Forced { // else the limits would be lost
			err = os.Remove(m.path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return used, err
	}
	return used, m.replace(quota.AppendMaildirsize(nil, m.base, used))
}

// replace writes the file under another name first.
func (m *quotaMaildir) replace(text []byte) error {
	if err := m.ns.ensure(filepath.Dir(m.path)); err != nil {
		return err
	}
	perm := defaultPermissions
	if st, err := os.Stat(m.ns.st.root); err == nil {
		perm = permissionsFrom(st)
	}
	f, err := os.CreateTemp(filepath.Dir(m.path), quota.MaildirsizeName+".")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(perm.file)
	}
	if err == nil && perm.gid >= 0 {
		err = f.Chown(-1, perm.gid)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), m.path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// dirs calls fn with the directories that messages are in.
func (m *quotaMaildir) dirs(fn func(dir string, st fs.FileInfo) error) error {
	for _, ns := range m.q.namespaces(m.r) {
		names, err := ns.mailboxes()
		if err != nil {
			return err
		}
		for _, name := range names {
			p, err := m.q.u.resolve(name)
			if err != nil || m.r.Ignores(name) {
				continue
			}
			for _, sub := range [...]string{"new", "cur"} {
				dir := filepath.Join(p.location().Dir, sub)
				st, err := os.Stat(dir)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err == nil {
					err = fn(dir, st)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// sum adds up the sizes that file names have, and returns when the directories changed last.
func (m *quotaMaildir) sum(ctx context.Context) (used quota.Usage, newest time.Time, err error) {
	err = m.dirs(func(dir string, st fs.FileInfo) error {
		if st.ModTime().After(newest) {
			newest = st.ModTime()
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, file := range files {
			size, ok := nameSize(file.Name())
			if !ok {
				st, err := file.Info()
				if errors.Is(err, fs.ErrNotExist) {
					continue // it has got another name, which the time of the directory tells
				}
				if err != nil {
					return err
				}
				size = st.Size()
			}
			used = used.Plus(quota.Usage{Bytes: size, Messages: 1})
		}
		return ctx.Err()
	})
	return used, newest, err
}

// changedSince reports whether a directory has changed after a time.
func (m *quotaMaildir) changedSince(t time.Time) (changed bool, err error) {
	err = m.dirs(func(_ string, st fs.FileInfo) error {
		changed = changed || st.ModTime().After(t)
		return nil
	})
	return changed, err
}

// nameSize returns the size that the name of a file in a Maildir tells.
func nameSize(name string) (size int64, ok bool) {
	_, text, found := strings.Cut(name, ",S=")
	if end := strings.IndexAny(text, ":,"); end >= 0 {
		text = text[:end]
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return int64(n), found && err == nil
}

package attachment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
)

// Options are the settings about attachments.
type Options struct {
	Dir     string // mail_attachment_dir
	FS      string // mail_attachment_fs
	Hash    string // mail_attachment_hash
	MinSize int64  // mail_attachment_min_size
	Sync    bool   // have files on disk before the message
}

// A Store is a directory of attachments. Its methods may be called by several
// goroutines.
type Store struct {
	opt  Options
	sis  bool
	hash hashFormat

	mu   sync.Mutex
	root *os.Root
}

// New returns the store, which touches no disk yet.
func New(opt Options) (*Store, error) {
	s := &Store{opt: opt}
	switch strings.TrimSpace(opt.FS) {
	case "posix":
	case "sis posix", "sis:posix":
		s.sis = true
	default:
		return nil, fmt.Errorf("mail_attachment_fs: %s is not supported; posix and sis posix are", opt.FS)
	}
	var err error
	if s.hash, err = parseHash(opt.Hash); err != nil {
		return nil, fmt.Errorf("mail_attachment_hash setting: %w", err)
	}
	return s, nil
}

// Same tells whether messages of another store can share their files with this one's.
func (s *Store) Same(o *Store) bool {
	return s != nil && o != nil && s.opt.Dir == o.opt.Dir && s.sis == o.sis
}

// MinSize returns the size of the smallest part that is cut out.
func (s *Store) MinSize() int64 { return s.opt.MinSize }

// FlushAll has the files with their names on disk, and with them all that is on that file system.
func (s *Store) FlushAll() error {
	root, err := s.dir(false)
	if err != nil {
		return err
	}
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return commit.All(int(d.Fd()))
}

// Close gives the directory up.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		s.root.Close()
		s.root = nil
	}
}

// dir returns the directory; only for writing it is made.
func (s *Store) dir(write bool) (*os.Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		return s.root, nil
	}
	root, err := os.OpenRoot(s.opt.Dir)
	if write && errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(s.opt.Dir, 0o700); err == nil {
			root, err = os.OpenRoot(s.opt.Dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mail_attachment_dir: %w", err)
	}
	s.root = root
	return root, nil
}

// open opens the file of a message. Without the suffix it is that of a message whose writer
// was killed before it gave it its last name.
func (s *Store) open(p, suffix string) (*os.File, error) {
	root, err := s.dir(false)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(p + suffix)
	if suffix != "" && errors.Is(err, fs.ErrNotExist) {
		var err2 error
		if f, err2 = root.Open(p); err2 == nil {
			err = nil
		}
	}
	if err != nil {
		// That a file is missing must not look as if the mailbox were.
		return nil, damaged("in %s: %v", s.opt.Dir, err)
	}
	return f, nil
}

// hashName returns the name of the file that all with one hash are links of.
func hashName(p string) string {
	dir, name := path.Split(p)
	hash, _, _ := strings.Cut(name, "-")
	return dir + "hashes/" + hash
}

// add makes a file with the content of r, whose hash is known, and returns its path.
func (s *Store) add(r io.ReadSeeker, hash string, guid [16]byte) (string, error) {
	root, err := s.dir(true)
	if err != nil {
		return "", err
	}
	digits := hash + "\x00\x00\x00\x00"
	dir := strings.TrimRight(digits[0:2]+"/"+digits[2:4], "\x00/")
	p := dir + "/" + hash + "-" + hex.EncodeToString(guid[:])
	if err := root.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if s.sis {
		if err := root.MkdirAll(dir+"/hashes", 0o700); err != nil {
			return "", err
		}
		if linked, err := s.linkEqual(root, p, r); linked || err != nil {
			return p, err
		}
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
	}
	if err := s.write(root, p, r); err != nil {
		return "", fmt.Errorf("attachment in %s: %w", s.opt.Dir, err)
	}
	if s.sis {
		s.replaceHash(root, p)
	}
	return p, s.syncDirs(root, dir)
}

func (s *Store) write(root *os.Root, p string, r io.Reader) error {
	f, err := root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil && s.opt.Sync {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		root.Remove(p) //nolint:errcheck // nobody refers to it
	}
	return err
}

// linkEqual makes p a link of the file with the same hash, if their content is equal.
func (s *Store) linkEqual(root *os.Root, p string, r io.Reader) (bool, error) {
	name := hashName(p)
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	same, err := equal(f, r)
	if !same || err != nil {
		return false, err
	}
	if err := root.Link(name, p); err != nil {
		return false, nil // it has too many links, or is gone
	}
	was, err1 := f.Stat()
	is, err2 := root.Stat(p)
	if err1 != nil || err2 != nil || !os.SameFile(was, is) {
		root.Remove(p) //nolint:errcheck // replaced meanwhile by another of the same hash: write one's own
		return false, nil
	}
	return true, s.syncDirs(root, path.Dir(p))
}

func equal(a, b io.Reader) (bool, error) {
	x, y := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err1 := io.ReadFull(a, x)
		m, err2 := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		end1 := err1 == io.EOF || err1 == io.ErrUnexpectedEOF
		end2 := err2 == io.EOF || err2 == io.ErrUnexpectedEOF
		switch {
		case end1 && end2:
			return true, nil
		case end1 || end2:
			return false, nil
		case err1 != nil || err2 != nil:
			return false, errors.Join(err1, err2)
		}
	}
}

// replaceHash has those who come later link to this file. What fails costs only space.
func (s *Store) replaceHash(root *os.Root, p string) {
	name := hashName(p)
	if err := root.Link(p, name); !errors.Is(err, fs.ErrExist) {
		return
	}
	temp := path.Dir(name) + "/.temp." + path.Base(p)
	if root.Link(p, temp) == nil && root.Rename(temp, name) != nil {
		root.Remove(temp) //nolint:errcheck // see above
	}
}

// syncDirs has names on disk.
func (s *Store) syncDirs(root *os.Root, dir string) error {
	if !s.opt.Sync {
		return nil
	}
	for _, d := range []string{dir, path.Dir(dir), "."} {
		f, err := root.Open(d)
		if err != nil {
			return err
		}
		err = unix.Fsync(int(f.Fd()))
		f.Close()
		if err != nil {
			return fmt.Errorf("fsync(%s): %w", f.Name(), err)
		}
	}
	return nil
}

// Rename gives the file of a message that gets its uid its last name, or takes that back.
func (s *Store) Rename(from, to string) error {
	root, err := s.dir(false)
	if err == nil {
		err = root.Rename(from, to)
	}
	if err == nil {
		err = s.syncDirs(root, path.Dir(to))
	}
	return err
}

// Link gives a file to one more message, or a copy of it where it has too many links.
func (s *Store) Link(from, to string) error {
	root, err := s.dir(false)
	if err != nil {
		return err
	}
	err = root.Link(from, to)
	if errors.Is(err, unix.EMLINK) {
		f, err := root.Open(from)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.write(root, to, f)
	}
	if err == nil {
		err = s.syncDirs(root, path.Dir(to))
	}
	return err
}

// Remove removes the file of a message that is gone; it is no error if there is none. With sis
// that of the hash goes with the last but one link.
func (s *Store) Remove(p string) error {
	root, err := s.dir(false)
	if err != nil {
		return err
	}
	if s.sis {
		if st, err := root.Stat(p); err == nil && links(st) == 2 {
			if hash, err := root.Stat(hashName(p)); err == nil && os.SameFile(st, hash) {
				if err := root.Remove(hashName(p)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
		}
	}
	if err := root.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// RemoveAll removes all files of a message.
func (s *Store) RemoveAll(refs []Ref, suffix string) error {
	var errs []error
	for i := range refs {
		errs = append(errs, s.Remove(refs[i].Path+suffix))
	}
	return errors.Join(errs...)
}

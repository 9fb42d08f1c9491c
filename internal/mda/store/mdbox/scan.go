package mdbox

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A found message is one that lies in an m.N.
type found struct {
	at   place
	was  uint32 // offset before the file was repaired
	guid [16]byte

	guidText string // as the file has it
	mailbox  string // what it was saved for
	busy     bool   // somebody is appending to the file
	unseen   bool   // it may be in a second storage that is not there

	uid   uint32 // of the map
	refs  int    // counted
	known bool   // the map had it
	had   uint16 // ... with so many references
}

// scan reads all m.N of both storages and repairs damaged ones. The map is locked.
func (s *Storage) scan() (all []*found, highest uint32, err error) {
	seen := make(map[uint32]bool)
	for _, dir := range []*index.Dir{s.dir, s.alt} {
		if dir == nil {
			continue
		}
		l, err := list(dir)
		if err != nil {
			return nil, 0, err
		}
		for _, id := range l.ids {
			highest = max(highest, id)
			if seen[id] {
				continue // moving it was interrupted: it is the same
			}
			seen[id] = true
			if all, err = s.scanFile(all, dir, id); err != nil {
				return nil, 0, err
			}
		}
	}
	return all, highest, nil
}

func (s *Storage) scanFile(all []*found, dir *index.Dir, id uint32) ([]*found, error) {
	fd, st, err := dir.OpenRegular(fileName(id), unix.O_RDWR)
	switch {
	case err == nil:
	case errors.Is(err, index.ErrNotExist):
		return all, nil // a symlink that leads nowhere
	case errors.Is(err, unix.EACCES) || !errors.Is(err, index.ErrDamaged):
		return all, err // the messages are there, only not for us
	default:
		s.opt.Log.Errorf("mdbox storage %s: %v; renamed", s.opt.Dir, err)
		return all, dir.SetAside(fileName(id))
	}
	defer unix.Close(fd)
	// Messages of which the map does not know may be on their way into it.
	busy := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil
	first := len(all)
	sound, err := scanMessages(fd, st.Size, func(m *dbox.Stored) {
		all = append(all, &found{
			at:   place{id, uint32(m.At), uint32(m.End - m.At)},
			was:  uint32(m.At),
			guid: dbox.GUID128(m.Metadata.Get(dbox.KeyGUID)),

			guidText: m.Metadata.Get(dbox.KeyGUID),
			mailbox:  m.Metadata.Get(dbox.KeyOrigMailbox),
			busy:     busy,
		})
	})
	if err != nil {
		return all, err
	}
	if !sound && !busy {
		err = s.repairFile(dir, id, fd, all[first:])
	}
	return all, err
}

// scanMessages calls fn for every complete message of a file. sound is false if
// there is anything else in it.
func scanMessages(fd int, size int64, fn func(m *dbox.Stored)) (sound bool, err error) {
	sound = true
	h, err := dbox.ReadFileHeader(fdReader(fd))
	if errors.Is(err, dbox.ErrCorrupt) {
		h, sound, err = dbox.FileHeader{MessageHeader: dbox.MessageHeaderSize}, false, nil
	}
	if h.MessageHeader != dbox.MessageHeaderSize {
		h.MessageHeader, sound = dbox.MessageHeaderSize, false // there is no other
	}
	if err != nil {
		return false, err
	}
	at := int64(h.Size)
	for at < size {
		m, err := dbox.ReadStored(fdReader(fd), &h, at, size)
		if err == nil {
			fn(&m)
			at = m.End
			continue
		}
		if !errors.Is(err, dbox.ErrCorrupt) {
			return false, err
		}
		sound = false
		if at, err = nextHeader(fd, at+1, size); err != nil {
			return false, err
		}
	}
	return sound, nil
}

var headerMagic = []byte("\x01\x02N          ")

// nextHeader returns where the next message header may be, size for nowhere.
func nextHeader(fd int, at, size int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for at < size {
		n, err := index.ReadAt(fd, buf[:min(int64(len(buf)), size-at)], at)
		if err != nil && err != io.EOF {
			return 0, err
		}
		if i := bytes.Index(buf[:n], headerMagic); i >= 0 {
			return at + int64(i), nil
		}
		if n < len(buf) {
			break
		}
		at += int64(n - len(headerMagic) + 1)
	}
	return size, nil
}

// repairFile replaces a file by one with the messages found in it. The original
// stays beside it, with another name.
func (s *Storage) repairFile(dir *index.Dir, id uint32, fd int, msgs []*found) error {
	name := fileName(id)
	f, err := s.create(dir)
	if err != nil {
		return err
	}
	defer f.close()
	for _, m := range msgs {
		at := f.end
		if err := f.writeFrom(fd, int64(m.at.offset), int64(m.at.size)); err != nil {
			f.discard(dir)
			return sysError("write", dir.File(f.temp), err)
		}
		m.at.offset = uint32(at)
	}
	err = unix.Fdatasync(f.fd)
	if err == nil {
		err = unix.Linkat(dir.FD, name, dir.FD, name+dbox.BrokenSuffix, 0)
	}
	if errors.Is(err, unix.EEXIST) {
		err = nil // from an earlier time
	}
	if err == nil {
		err = dir.Rename(f.temp, name)
	}
	if err != nil {
		f.discard(dir)
		return err
	}
	s.opt.Log.Errorf("mdbox storage %s: %s is damaged; kept the %d messages that are complete, the original is %s%s",
		s.opt.Dir, name, len(msgs), name, dbox.BrokenSuffix)
	return nil
}

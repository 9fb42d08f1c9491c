package maildir

import "golang.org/x/sys/unix"

// ChangeInfo is [Box.SetInfo] for a message of which the caller does not know some flags, private
// ones: of these it changes in the name what differs between was and i.
func (b *Box) ChangeInfo(uid uint32, was, i Info, private byte) error {
	now := was
	err := b.with(uid, was, func(_ *Entry, path string) error {
		now = ParseInfo(path[4:])
		return unix.Faccessat(b.opt.Dir.FD, path, unix.F_OK, 0)
	})
	if err != nil {
		return err
	}
	add, remove := i.Flags&^was.Flags&private, was.Flags&^i.Flags&private
	i.Flags = i.Flags&^private | now.Flags&private&^remove | add
	return b.SetInfo(uid, now, i)
}

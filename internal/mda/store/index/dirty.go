package index

const (
	// flagHaveDirty in the header says that some message may have flagDirty.
	flagHaveDirty = 0x2
	// flagDirty is set for a message whose flags and keywords are not in its mail file yet.
	flagDirty = 0x80
)

// noteDirty notes that a message gets these flags.
func (s *State) noteDirty(flags byte) {
	if flags&flagDirty != 0 {
		s.Hdr.setU32(offFlags, s.Hdr.u32(offFlags)|flagHaveDirty)
	}
}

// Dirty reports whether flags or keywords of some message may not be in its mail file.
func (s *State) Dirty() bool { return s.Hdr.u32(offFlags)&flagHaveDirty != 0 }

// ClearDirty records that all of them are there.
func (t *Tx) ClearDirty(h *Header) { t.HeaderU32(offFlags, h.u32(offFlags)&^flagHaveDirty) }

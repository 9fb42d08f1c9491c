package imap

// hasMetadata reports whether METADATA is announced.
func (s *session) hasMetadata() bool { return s.set.Metadata && s.srv.has.attributes }

// listMetadata is what LIST RETURN (METADATA) adds to an entry (RFC 9590 3). What cannot be looked up is told
// untagged: the list goes on.
func (c *command) listMetadata(name string, entries []string) error {
	r := metadataReply{command: c, metadataQuery: &metadataQuery{maxSize: 1<<32 - 1, entries: entries}}
	err := r.writeBox(name)
	if c.ended != nil {
		return c.ended
	}
	if err == nil {
		err = r.err
	}
	if err != nil {
		r.untaggedNo(err)
	}
	return nil
}

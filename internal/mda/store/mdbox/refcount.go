package mdbox

import "context"

// RefCount returns how many messages of mailboxes are a message of the map, as the
// map is now. [ErrExpunged].
func (s *Storage) RefCount(ctx context.Context, mapUID uint32) (int, error) {
	e, err := s.find(ctx, mapUID, true)
	return int(e.refs), err
}

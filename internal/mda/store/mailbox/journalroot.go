package mailbox

import (
	"path/filepath"
	"strings"
)

// journalRoot returns the location by which the journal of a mailbox is looked for: that of all the mailboxes that it
// is one of. A journal lies where all of them belong to the user of this process, never in a mailbox
// that he has made among those of somebody else, who could not read it.
func (l *Location) journalRoot() *Location {
	if l.TrashDir == "" {
		return l
	}
	root := filepath.Dir(l.TrashDir)
	if !strings.HasPrefix(l.Dir, root+"/") {
		return l
	}
	all := *l
	all.Dir = root
	return &all
}

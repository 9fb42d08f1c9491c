package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/maildir"
)

// Mend removes what is no file from the messages.
func (s *maildirStore) Mend(uid uint32) (kept bool, original string, err error) {
	original, err = s.box.SetAside(uid, maildir.Info{})
	if errors.Is(err, maildir.ErrNotExist) {
		return false, "gone", nil
	}
	return false, original, err
}

var _ Mender = (*maildirStore)(nil)

// lettersLost tells whether the index has keywords without letters though there are free ones:
// then dovecot-keywords is not what it was.
func (s *maildirStore) lettersLost(st *index.State) bool {
	keywords := s.box.Keywords()
	lost := false
	for k := range st.Keywords {
		lost = lost || keywords.Letters(st.Keywords[k:k+1]) == 0
	}
	return lost && slices.Contains(keywords[:], "")
}

// nameLetters finds the names of the keyword letters that are used in file names and are not
// known: those of the keywords that the index has for the same messages. Locked.
func (s *maildirStore) nameLetters(st *index.State, msgs []maildir.Message, used uint32) error {
	var found []string
	for n := range maildir.MaxKeywords {
		keywords := s.box.Keywords()
		if used&(1<<n) == 0 || keywords[n] != "" && st.Keyword(keywords[n]) >= 0 {
			continue
		}
		best, common := -1, 0
		for k := range st.Keywords {
			if keywords.Letters(st.Keywords[k:k+1]) != 0 {
				continue
			}
			both, one := agreement(st, msgs, n, k)
			if both-one > common && (one == 0 || keywords[n] == "") {
				best, common = k, both-one
			}
		}
		if best < 0 {
			continue
		}
		found = append(found, fmt.Sprintf("%c=%s", 'a'+n, st.Keywords[best]))
		if err := s.box.NameLetter(n, st.Keywords[best]); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		s.Log.Warningf("Mailbox %s: dovecot-keywords lacks names that the index has: %s", s.Location.Name, strings.Join(found, " "))
	}
	_, err := s.box.GiveLetters(st.Keywords, 0)
	return err
}

// agreement returns how many messages have letter n in their file names and keyword k in the index,
// and how many only one of them.
func agreement(st *index.State, msgs []maildir.Message, n, k int) (both, one int) {
	for i := range msgs {
		at, ok := st.Find(msgs[i].UID)
		if !ok {
			continue
		}
		letter, keyword := msgs[i].Info.Letters&(1<<n) != 0, index.HasBit(st.KeywordBits(at), k)
		switch {
		case letter && keyword:
			both++
		case letter != keyword:
			one++
		}
	}
	return both, one
}

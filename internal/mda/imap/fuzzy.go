package imap

import (
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// fuzzy reads the key that FUZZY is about (RFC 6203 3). All it changes is that of a text the words
// may be anywhere in the message, if the mailbox has a full-text index.
func (p *searchParser) fuzzy() (*search.Key, error) {
	k, err := p.key()
	if err == nil {
		setFuzzy(k)
	}
	return k, err
}

func setFuzzy(k *search.Key) {
	k.Fuzzy = true
	for _, sub := range k.Keys {
		setFuzzy(sub)
	}
}

// appendRelevancy writes the scores of messages as numbers from 1 to 100 (RFC 6203 4), spread over
// that range as Dovecot does. A message without a score has the lowest.
func appendRelevancy(b []byte, uids []uint32, scores map[uint32]float64) []byte {
	if len(uids) == 0 {
		return b
	}
	low, high := 0.0, 0.0
	for i, uid := range uids {
		if score := scores[uid]; i == 0 {
			low, high = score, score
		} else {
			low, high = min(low, score), max(high, score)
		}
	}
	for i, uid := range uids {
		if i > 0 {
			b = append(b, ' ')
		}
		n := 1
		if high > low {
			n = max(int((scores[uid]-low)/(high-low)*100), 1)
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}

package maildir

import (
	"strconv"
	"strings"
)

// Keywords are the names behind the keyword letters; "" for one that is free.
type Keywords [MaxKeywords]string

// maxKeywordsFile bounds the size of a file that is read.
const maxKeywordsFile = 1 << 20

// parseKeywords reads dovecot-keywords. Lines that make no sense are left out, as the
// rest of the file then still does.
func parseKeywords(text string) (k Keywords) {
	for line := range strings.Lines(text) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break // the name may be cut
		}
		number, name, ok := strings.Cut(strings.TrimRight(line, "\r"), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || n >= MaxKeywords || name == "" || k.letter(name) >= 0 {
			continue
		}
		k[n] = name
	}
	return k
}

// append writes the file's text.
func (k *Keywords) append(b []byte) []byte {
	for n, name := range k {
		if name != "" {
			b = strconv.AppendInt(b, int64(n), 10)
			b = append(b, ' ')
			b = append(b, name...)
			b = append(b, '\n')
		}
	}
	return b
}

// letter returns the number of a keyword, -1 if it has none.
func (k *Keywords) letter(name string) int {
	for n := range k {
		if k[n] != "" && strings.EqualFold(k[n], name) {
			return n
		}
	}
	return -1
}

// Letters returns the bits of keywords, as far as they have letters.
func (k *Keywords) Letters(names []string) (letters uint32) {
	for _, name := range names {
		if n := k.letter(name); n >= 0 {
			letters |= 1 << n
		}
	}
	return letters
}

// Names returns the keywords of letters.
func (k *Keywords) Names(letters uint32) (names []string) {
	for n, name := range k {
		if letters&(1<<n) != 0 && name != "" {
			names = append(names, name)
		}
	}
	return names
}

// give gives letters to keywords, as long as there are any.
func (k *Keywords) give(names []string) (changed bool) {
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, "\r\n") || k.letter(name) >= 0 {
			continue
		}
		for n := range k {
			if k[n] == "" {
				k[n], changed = name, true
				break
			}
		}
	}
	return changed
}

// giveUnknown names letters that are used in file names but have no keyword.
func (k *Keywords) giveUnknown(letters uint32) (changed bool) {
	for n := range k {
		if letters&(1<<n) != 0 && k[n] == "" {
			k[n], changed = "unknown-"+strconv.Itoa(n), true
		}
	}
	return changed
}

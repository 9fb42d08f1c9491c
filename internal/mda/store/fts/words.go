package fts

import (
	"bytes"
	"unicode/utf8"
)

const (
	maxWord   = 128 // bytes of a word in the index
	maxNeedle = 60  // bytes of a word that is looked for
	minStep   = maxWord - maxNeedle - utf8.UTFMax
)

// isWord reports whether a byte is a part of words.
func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c >= utf8.RuneSelf
}

// A Splitter finds the words of a text that is written to it in pieces.
type Splitter struct {
	Word func([]byte) // is called with each word, which is valid until it returns
	rest []byte       // the word that the last piece ended in
}

// Write takes the next piece, which begins and ends with whole characters.
func (s *Splitter) Write(text []byte) {
	for len(text) > 0 {
		n := 0
		for n < len(text) && isWord(text[n]) {
			n++
		}
		s.rest = append(s.rest, text[:n]...)
		for len(s.rest) > maxWord {
			s.Word(s.rest[:runeStart(s.rest, maxWord)])
			s.rest = s.rest[:copy(s.rest, s.rest[runeStart(s.rest, minStep):])]
		}
		if n == len(text) {
			return
		}
		s.End()
		for n < len(text) && !isWord(text[n]) {
			n++
		}
		text = text[n:]
	}
}

// End says that the text ends here.
func (s *Splitter) End() {
	if len(s.rest) > 0 {
		s.Word(s.rest)
	}
	s.rest = s.rest[:0]
}

// runeStart returns the begin of the character that the byte at n belongs to.
func runeStart(text []byte, n int) int {
	for back := 0; back < utf8.UTFMax-1; back++ {
		if utf8.RuneStart(text[n-back]) {
			return n - back
		}
	}
	return n
}

// needles returns the words of a text that is looked for. whole tells that there is
// nothing else in it: it is a part of exactly those words that contain it.
func needles(text []byte) (words [][]byte, whole bool) {
	for _, w := range bytes.FieldsFunc(text, func(r rune) bool { return r < utf8.RuneSelf && !isWord(byte(r)) }) {
		if len(w) > maxNeedle {
			w = w[:runeStart(w, maxNeedle)]
		}
		words = append(words, w)
	}
	return words, len(words) == 1 && len(words[0]) == len(text)
}

package fts

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
)

// A Field is where in a message a word is.
type Field uint8

// The fields. AnyHeader has the names and values of all header fields, of the parts of a
// message as well.
const (
	From Field = iota
	To
	Cc
	Bcc
	Subject
	AnyHeader
	Body
	fields
)

// columns are the names of the fields in the file.
var columns = [fields]string{"sender", "recipient", "cc", "bcc", "subject", "header", "body"}

const (
	maxWords = 100_000 // different words of a message; one with more is always read
	maxTerms = 100_000 // numbers of words kept in memory while messages are added
	// A batch is committed after this many messages or words, so that a process that is killed loses little,
	// and searches of others need not wait.
	batchMessages = 1000
	batchWords    = 500_000
)

// A Message gathers the words of a message.
type Message struct {
	// Unread is set if words are missing: the message could not be read to its end.
	Unread bool
	words  map[string]uint8 // and the fields they are in
}

// Word adds a word.
func (m *Message) Word(f Field, word []byte) {
	if set, ok := m.words[string(word)]; ok || len(m.words) < maxWords {
		if bit := uint8(1) << f; set&bit == 0 {
			m.words[string(word)] = set | bit
		}
		return
	}
	m.Unread = true
}

// An adder adds messages within a transaction.
type adder struct {
	terms                        map[string]int64 // of the words that were met
	find, insert, part, add, say *sql.Stmt
	row                          [fields][]byte
	words                        int
}

func newAdder(tx *sql.Tx, terms map[string]int64) (a *adder, err error) {
	a = &adder{terms: terms}
	prepare := func(query string) *sql.Stmt {
		if err != nil {
			return nil
		}
		var s *sql.Stmt
		s, err = tx.Prepare(query)
		return s
	}
	a.find = prepare("SELECT id FROM term WHERE word = ?")
	a.insert = prepare("INSERT INTO term(word) VALUES(?)")
	a.part = prepare("INSERT INTO part(rowid, word) VALUES(?, ?)")
	a.add = prepare("INSERT INTO message(rowid, sender, recipient, cc, bcc, subject, header, body) VALUES(?, ?, ?, ?, ?, ?, ?, ?)")
	a.say = prepare("INSERT OR REPLACE INTO unread VALUES(?)")
	return a, err
}

// term returns the number of a word.
func (a *adder) term(word string) (id int64, err error) {
	if id, ok := a.terms[word]; ok {
		return id, nil
	}
	err = a.find.QueryRow(word).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		var r sql.Result
		if r, err = a.insert.Exec(word); err != nil {
			return 0, err
		}
		if id, err = r.LastInsertId(); err != nil {
			return 0, err
		}
		_, err = a.part.Exec(id, word)
	}
	if err != nil {
		return 0, err
	}
	if len(a.terms) >= maxTerms {
		clear(a.terms)
	}
	a.terms[word] = id
	return id, nil
}

// message adds a message.
func (a *adder) message(uid uint32, m *Message) error {
	for f := range a.row {
		a.row[f] = a.row[f][:0]
	}
	for word, set := range m.words {
		id, err := a.term(word)
		if err != nil {
			return err
		}
		for f := range a.row {
			if set&(1<<f) != 0 {
				a.row[f] = append(strconv.AppendInt(a.row[f], id, 10), ' ')
			}
		}
	}
	a.words += len(m.words)
	values := []any{uid}
	for _, v := range a.row {
		values = append(values, string(v))
	}
	if _, err := a.add.Exec(values...); err != nil {
		return err
	}
	if !m.Unread {
		return nil
	}
	_, err := a.say.Exec(uid)
	return err
}

// Add adds the messages with the uids, which ascend, unless they are there already. read gathers
// the words of each. If it fails those before it stay added.
func (ix *Index) Add(ctx context.Context, uids []uint32, read func(uid uint32, m *Message) error) error {
	terms := make(map[string]int64)
	for len(uids) > 0 {
		var failed error
		err := ix.change(ctx, func(tx *sql.Tx) error {
			if err := tx.QueryRow("SELECT last FROM meta").Scan(&ix.last); err != nil {
				return err
			}
			a, err := newAdder(tx, terms)
			if err != nil {
				return err
			}
			for n := 0; len(uids) > 0 && failed == nil && n < batchMessages && a.words < batchWords; n++ {
				uid := uids[0]
				if uid <= ix.last { // another process was faster
					uids = uids[1:]
					continue
				}
				m := Message{words: make(map[string]uint8)}
				if failed = read(uid, &m); failed != nil {
					break
				}
				if err := a.message(uid, &m); err != nil {
					return err
				}
				uids, ix.last = uids[1:], uid
			}
			_, err = tx.Exec("UPDATE meta SET last = ?", ix.last)
			return err
		})
		if err == nil {
			err = failed
		}
		if err != nil {
			return ix.failed("add to", err)
		}
	}
	return nil
}

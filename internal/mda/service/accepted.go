package service

import (
	"context"
	"errors"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
)

// A logins table remembers which clients were passed to a mail process that has
// not said yet whether it takes them.
type logins struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]pendingLogin
}

type pendingLogin struct {
	key    mailKey
	answer chan mail.Accepted
}

// errMailGone is for clients whose mail process ended before it could take them.
var errMailGone = errors.New("the mail process ended")

// errNotTaken is for clients that the mail process cannot take. Its log says why.
var errNotTaken = errors.New("the mail process could not take the client")

// add remembers a client and returns its number here.
func (l *logins) add(key mailKey) (id uint64, answer <-chan mail.Accepted) {
	p := pendingLogin{key, make(chan mail.Accepted, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = make(map[uint64]pendingLogin)
	}
	l.last++
	l.waiting[l.last] = p
	return l.last, p.answer
}

func (l *logins) remove(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
}

// answered takes what a mail process says of a client that it was passed. Those of
// others are none of its business.
func (l *logins) answered(key mailKey, msg *master.Message) {
	var a mail.Accepted
	if msg.Decode(&a) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p, ok := l.waiting[a.ID]; ok && p.key == key {
		delete(l.waiting, a.ID)
		p.answer <- a
	}
}

// fail gives up the clients that were passed to a process which has ended.
func (l *logins) fail(key mailKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, p := range l.waiting {
		if p.key == key {
			delete(l.waiting, id)
			close(p.answer)
		}
	}
}

// wait returns why the mail process does not want the client, or nothing.
func (l *logins) wait(ctx context.Context, answer <-chan mail.Accepted) (refused string, err error) {
	select {
	case a, ok := <-answer:
		if !ok {
			return "", errMailGone
		}
		if a.Failed {
			return "", errNotTaken
		}
		return a.Refused, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// keyOf is the key of the mail process that a child is, one with LMTP listeners.
func (m *Master) keyOf(c *master.Child) mailKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, mc := range m.mail {
		if mc == c {
			return key
		}
	}
	id := c.Identity() // it ended, and another has its place
	return mailKey{id.UID, id.GID, 0}
}

package imap

// tells reports whether the client wants to be told of events in the selected mailbox: without NOTIFY
// of all.
func (s *session) tells(events notifyEvents) bool {
	return s.notified == nil || s.notified.inSelected&events != 0
}

// tellsFlags reports whether the client is to be told of changed flags. Those that it changes itself
// are what STORE answers (RFC 3501 6.4.6).
func (s *session) tellsFlags() bool {
	if s.tells(notifyFlagChange) {
		return true
	}
	return s.running != nil && s.running.entry != nil && (s.running.name == "STORE" || s.running.name == "UID STORE")
}

// tellsExpunges reports whether the client is to be told of expunged messages, as by commands that expunge
// (RFC 3501 6.4.3). Until it is its numbers stay as they are.
func (s *session) tellsExpunges() bool {
	if s.tells(notifyMessageExpunge) {
		return true
	}
	if s.running == nil || s.running.entry == nil {
		return false
	}
	switch s.running.name {
	case "EXPUNGE", "UID EXPUNGE", "MOVE", "UID MOVE", "REPLACE", "UID REPLACE":
		return true
	}
	return false
}

// unasked tells what the client wants to know at once: in IDLE, and by NOTIFY.
func (s *session) unasked() {
	if s.notified != nil {
		s.notifyNow()
	}
	if s.bye == "" && s.idling != nil {
		s.idleSync()
	}
}

// notifyNow tells what has happened that NOTIFY asked for.
func (s *session) notifyNow() {
	err := s.notifySelected()
	if err == nil && s.bye == "" && s.notified.mailbox != nil {
		err = s.notifyMailboxes()
	}
	if err != nil {
		s.disconnected(err)
	}
}

// notifySelected tells of the selected mailbox, whose changes wake the session from now on.
func (s *session) notifySelected() error {
	n := s.notified
	if !n.selected || s.box == nil {
		return nil
	}
	if n.told != s.box {
		if n.untell != nil {
			n.untell()
		}
		n.told, n.untell = s.box, s.box.mbox.Notify(s.wake)
	}
	mode := syncNoExpunge
	if n.immediate {
		mode = syncFull
	}
	if err := s.syncBox(mode, nil); err != nil || s.bye != "" {
		return err
	}
	return s.tellHighestModSeq()
}

// tellNew tells what NOTIFY wants to know of new messages (RFC 5465 5.2), after EXISTS has told of them.
func (s *session) tellNew() error {
	first := s.box.toldNext
	if s.box.view.UIDNext() == first || !s.tells(notifyMessageNew) {
		return nil
	}
	s.box.toldNext = s.box.view.UIDNext()
	if s.notified == nil || s.notified.fetch == nil {
		return nil
	}
	from, _ := s.box.view.Find(first)
	f := fetcher{command: &command{session: s, entry: commandByName["FETCH"], tag: "*"}, program: s.notified.fetch}
	if err := f.run([]span{{from, s.box.view.Len()}}); err != nil {
		return err
	}
	s.box.mbox.CommitCache(s.ctx)
	return f.markSeen()
}

package search

import (
	"context"
	"errors"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
)

// withThreads returns the query with the messages that its InThread keys select in the place
// of these: all of each thread of which one matches.
func withThreads(ctx context.Context, m *mailbox.Mailbox, snap *mailbox.Snapshot, k *Key, env *Env) (*Key, error) {
	if !k.needsThreads() {
		return k, nil
	}
	found := *k
	found.Keys = make([]*Key, len(k.Keys))
	for i, sub := range k.Keys {
		var err error
		if found.Keys[i], err = withThreads(ctx, m, snap, sub, env); err != nil {
			return nil, err
		}
	}
	if k.Op != InThread {
		return &found, nil
	}
	matching, err := Run(ctx, m, snap, found.Keys[0], env)
	if err != nil {
		return nil, err
	}
	if len(matching) == 0 {
		return &Key{Op: InThread, Not: k.Not}, nil
	}
	all := make([]uint32, snap.Len())
	for i := range all {
		all[i] = snap.UID(i)
	}
	threads, err := Threads(ctx, m, all, k.Thread)
	if err != nil {
		return nil, err
	}
	found = Key{Op: InThread, Not: k.Not}
	for _, t := range threads {
		wanted, begin := false, len(found.uids)
		t.All(func(uid uint32) {
			found.uids = append(found.uids, uid)
			_, in := slices.BinarySearch(matching, uid)
			wanted = wanted || in
		})
		if !wanted {
			found.uids = found.uids[:begin]
		}
	}
	slices.Sort(found.uids)
	return &found, nil
}

func (k *Key) needsThreads() bool {
	return k.Op == InThread || slices.ContainsFunc(k.Keys, (*Key).needsThreads)
}

// Threads returns the threads of messages, whose uids ascend. Those that are gone are left out.
func Threads(ctx context.Context, m *mailbox.Mailbox, uids []uint32, a thread.Algorithm) ([]*thread.Node, error) {
	list := make([]thread.Message, 0, len(uids))
	var fields []byte
	for _, uid := range uids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := threadMessage(ctx, m, uid, &fields)
		if errors.Is(err, mailbox.ErrExpunged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return thread.Build(a, list), nil
}

// threadFields are those that threads are made from.
var threadFields = []string{"Message-ID", "In-Reply-To", "References", "Subject"}

// threadMessage reads what a message has to do with threads.
func threadMessage(ctx context.Context, m *mailbox.Mailbox, uid uint32, buf *[]byte) (t thread.Message, err error) {
	msg, err := m.Message(uid)
	if err != nil {
		return t, err
	}
	t.UID = uid
	if t.Received, err = msg.Received(); err != nil {
		return t, err
	}
	var dated bool
	if t.Sent, dated, err = msg.SentDate(ctx); err != nil {
		return t, err
	}
	if !dated {
		t.Sent = t.Received
	}
	if *buf, err = msg.AppendFields(ctx, (*buf)[:0], threadFields); err != nil {
		return t, err
	}
	values, err := firstFields(*buf)
	t.Subject, t.ID = values["subject"], thread.FirstID(values["message-id"])
	if t.Parents = thread.IDs(values["references"]); len(t.Parents) == 0 {
		if id := thread.FirstID(values["in-reply-to"]); id != "" {
			t.Parents = []string{id}
		}
	}
	return t, err
}

package dict

import "context"

// A ChangeKind says what a [Change] does.
type ChangeKind uint8

// Kinds of changes.
const (
	Set       ChangeKind = iota // to Value
	Unset                       // the key is gone
	AtomicInc                   // the number there grows by Diff
)

// A Change is one change of a dictionary.
type Change struct {
	Kind  ChangeKind
	Key   string
	Value string
	Diff  int64
}

// A Transaction collects changes that are made together.
type Transaction struct {
	dict    Dict
	user    User
	changes []Change
}

// Begin starts a transaction. One that is not committed has no effect.
func Begin(d Dict, user User) *Transaction { return &Transaction{dict: d, user: user} }

// Set gives a key a value.
func (t *Transaction) Set(key, value string) {
	t.changes = append(t.changes, Change{Kind: Set, Key: key, Value: value})
}

// Unset removes a key. It need not exist.
func (t *Transaction) Unset(key string) {
	t.changes = append(t.changes, Change{Kind: Unset, Key: key})
}

// AtomicInc adds diff to the number that a key has.
func (t *Transaction) AtomicInc(key string, diff int64) {
	if diff != 0 {
		t.changes = append(t.changes, Change{Kind: AtomicInc, Key: key, Diff: diff})
	}
}

// Commit makes the changes. Its error is ErrNotFound if a key to be increased does not
// exist; the other changes are made then.
func (t *Transaction) Commit(ctx context.Context) error {
	if len(t.changes) == 0 {
		return nil
	}
	c, ok := t.dict.(Committer)
	if !ok {
		return errUnsupported
	}
	for i := range t.changes {
		if err := checkKey(t.user, t.changes[i].Key); err != nil {
			return err
		}
	}
	return c.Commit(ctx, t.user, t.changes)
}

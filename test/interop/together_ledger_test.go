package interop

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A place is where a message is: nothing else may ever be there.
type place struct {
	box string
	uid uint32
}

// A record is what the clients of a load know together.
type record struct {
	mu       sync.Mutex
	given    map[place]string   // the id of what a server said is or was there
	copies   map[place]*copied  // what must be there
	loose    map[[2]string]int  // by mailbox and id: what must be there, at a uid that nobody knows
	been     map[[2]string]bool // the same, for what was there at any time
	perhaps  map[[2]string]int  // what may be there, since no answer came
	fallback map[string][]place // by id: of an unfinished MOVE one at least must be there, or a perhaps
	returns  bool               // what was there may be there again
	// renumbers says that another message may have the uid of one, which then has another.
	renumbers bool
	acks      int
}

// A copied is a message that a client has put somewhere.
type copied struct {
	place
	id    string
	flags map[string]bool
	vague bool // a change of its flags was not answered
}

func newRecord() *record {
	return &record{
		given: make(map[place]string), copies: make(map[place]*copied), loose: make(map[[2]string]int),
		been:    make(map[[2]string]bool),
		perhaps: make(map[[2]string]int), fallback: make(map[string][]place),
	}
}

// put notes that a message was put somewhere.
func (r *record) put(c *copied) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := r.given[c.place]; ok {
		return fmt.Errorf("uid %d in %s was given to %s, and was to %s", c.uid, c.box, c.id, id)
	}
	r.given[c.place] = c.id
	r.copies[c.place] = c
	r.acks++
	return nil
}

// note changes the record under its lock.
func (r *record) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// compare compares what is in a mailbox of both views with the record.
func (r *record) compare(v *view) error {
	var wrong []error
	alive := make(map[string]int)
	perhaps, loose := maps.Clone(r.perhaps), maps.Clone(r.loose)
	if r.renumbers {
		r.displaced(v, loose)
	}
	for name, b := range v.Boxes {
		for _, uid := range b.UIDs {
			id, err := r.found(place{name, uid}, b.Messages[uid], perhaps, loose)
			alive[id]++
			wrong = append(wrong, err)
		}
	}
	for at, c := range r.copies {
		if b := v.Boxes[at.box]; b == nil || b.Messages[at.uid] == nil {
			wrong = append(wrong, fmt.Errorf("%s at uid %d in %s is lost", c.id, at.uid, at.box))
		}
	}
	for key, n := range loose {
		if n > 0 {
			wrong = append(wrong, fmt.Errorf("%s in %s is lost", key[1], key[0]))
		}
	}
	for id := range r.fallback {
		if alive[id] == 0 {
			wrong = append(wrong, fmt.Errorf("%s, whose MOVE was not answered, is lost", id))
		}
	}
	return errors.Join(wrong...)
}

// displaced notes messages in whose places others are: they must be somewhere in the mailbox.
func (r *record) displaced(v *view, loose map[[2]string]int) {
	for at, c := range r.copies {
		b := v.Boxes[at.box]
		if b == nil || b.Messages[at.uid] == nil {
			continue
		}
		p := &parser{rest: b.Messages[at.uid]["BODY[]"]}
		if id, whole := idOf(p.unquoted()); whole && id != c.id {
			loose[[2]string{at.box, c.id}]++
		}
	}
}

// found checks a message that is there.
func (r *record) found(at place, items map[string]string, perhaps, loose map[[2]string]int) (string, error) {
	p := &parser{rest: items["BODY[]"]}
	id, whole := idOf(p.unquoted())
	if !whole {
		return id, fmt.Errorf("%s at uid %d in %s is damaged: %.300s", id, at.uid, at.box, items["BODY[]"])
	}
	was, ok := r.given[at]
	if ok && was != id && !r.renumbers {
		return id, fmt.Errorf("uid %d in %s is %s, and was given to %s", at.uid, at.box, id, was)
	}
	if c := r.copies[at]; c != nil && c.id == id {
		if got, want := withoutRecent(items["FLAGS"]), flagWords(c.flags); got != want && !c.vague {
			return id, fmt.Errorf("%s at uid %d in %s has the flags %q, want %q", id, at.uid, at.box, got, want)
		}
		return id, nil
	}
	key := [2]string{at.box, id}
	for _, allowed := range []map[[2]string]int{loose, perhaps} {
		if allowed[key] > 0 {
			allowed[key]--
			return id, nil
		}
	}
	if r.returns {
		return id, nil
	}
	return id, fmt.Errorf("%s at uid %d in %s is too many", id, at.uid, at.box)
}

// numbered returns the message with an id. Length and content follow from it.
func numbered(id string) string {
	var b strings.Builder
	b.WriteString("From: sender@example.org\r\nMessage-ID: <" + id + "@example.org>\r\nSubject: message\r\nX-Number: " + id + "\r\n\r\n")
	n := 1
	for _, c := range []byte(id) {
		n = (n*31 + int(c)) % 120
	}
	for i := range n {
		fmt.Fprintf(&b, "line %d of message %s, which is as long as lines usually are\r\n", i, id)
	}
	return b.String()
}

// idOf tells the id of a numbered message and whether it is whole.
func idOf(text string) (id string, whole bool) {
	_, rest, _ := strings.Cut(text, "X-Number: ")
	id, _, ok := strings.Cut(rest, "\r\n")
	return id, ok && strings.HasSuffix(text, numbered(id))
}

// pick removes and returns one of a slice.
func pick[T any](all *[]T, i int) T {
	one := (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	return one
}

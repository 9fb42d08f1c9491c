package doveadm

import (
	"strings"
	"testing"
)

// TestOrWithNot searches for a OR NOT b. Where both sides are in parentheses, or are equal to one
// of the other side, the original simplifies the query as if there were no NOT: then only
// ours finds what was asked for. Without parentheses both are right.
func TestOrWithNot(t *testing.T) {
	h := newHome(t, "sdbox:~/mail")
	for _, mail := range []string{
		"From: a@x\nTo: b@x\n\none\n",
		"From: a@x\nTo: c@x\n\ntwo\n",
		"From: d@x\nTo: b@x\n\nthree\n",
	} {
		h.setUp(mail, "save")
	}
	for _, test := range []struct{ query, want, original string }{
		{"from a or to b", "1 2 3", "1 2 3"},
		{"from d or not to b", "2 3", "2 3"},
		{"not from a or not to b", "2 3", "2 3"},
		{"( from a to b ) or not ( from a to c )", "1 3", "1"}, // from a ( to b or to c )
		{"from d or not ( from d )", "1 2 3", "3"},
		{"( from a to b ) or not ( from a to b body one )", "1 2 3", "1"},
		{"or from a to b", "", ""}, // an error: this is not IMAP's order
	} {
		if got := h.found(h.ours, test.query); got != test.want {
			t.Errorf("%s: %q, want %q", test.query, got, test.want)
		}
		if got := h.found(h.original, test.query); got != test.original {
			t.Errorf("the original: %s: %q, want %q; is docs/differences.md still right?", test.query, got, test.original)
		}
	}
	both(t, h, h, "", "search", "or", "from", "a", "to", "b")
}

// found returns the uids that a search finds.
func (h *home) found(run func(stdin string, args ...string) outcome, query string) string {
	h.t.Helper()
	var uids []string
	for line := range strings.Lines(run("", append([]string{"search"}, strings.Fields(query)...)...).Out) {
		uids = append(uids, strings.Fields(line)[1])
	}
	return strings.Join(uids, " ")
}

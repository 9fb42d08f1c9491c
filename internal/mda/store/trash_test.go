package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTrash(t *testing.T) {
	got, err := parseTrash(strings.NewReader("# comment here\n2 Trash\n\nnothing\n1 Spam and more\r\n2 Old\n-1 First\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []trashBox{{-1, "First"}, {1, "Spam and more"}, {2, "Trash"}, {2, "Old"}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(trashBox{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, bad := range []string{"x Trash\n", "1 \xff\n"} {
		if _, err := parseTrash(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzTrash(f *testing.F) {
	f.Add("1 Spam\n2 Trash\n")
	f.Fuzz(func(t *testing.T, text string) {
		boxes, err := parseTrash(strings.NewReader(text))
		for i := range boxes {
			if err == nil && i > 0 && boxes[i].priority < boxes[i-1].priority {
				t.Errorf("%q: not in order", text)
			}
		}
	})
}

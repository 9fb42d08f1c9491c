package thread

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIDs(t *testing.T) {
	for _, try := range []struct {
		field string
		ids   []string
	}{
		{"", nil},
		{"<a@b>", []string{"a@b"}},
		{"<a@b><c@d> x <no> <e @ f>", []string{"a@b", "c@d", "e@f"}},
		{`<"a"@b> <"a b"@c.d> <a.(comment (in it))b@c>`, []string{"a@b", "a b@c.d", "a.b@c"}},
		{"<a@b", nil},
		{`<"a@b> <c@d>`, []string{"c@d"}},
		{"text <<a@b>>", []string{"<a@b"}},
	} {
		if diff := cmp.Diff(try.ids, IDs(try.field)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", try.field, diff)
		}
	}
}

func FuzzThreads(f *testing.F) {
	f.Add("<a@b> <c@d>", "<c@d> <a@b>", "Re: [x] y", "[Fwd: y] (fwd)")
	f.Fuzz(func(t *testing.T, first, second, subject, other string) {
		messages := []Message{
			{UID: 1, ID: FirstID(first), Parents: IDs(second), Subject: subject},
			{UID: 2, ID: FirstID(second), Parents: IDs(first), Subject: other, Sent: time.Unix(1, 0)},
			{UID: 3, ID: FirstID(first), Parents: IDs(first + second), Subject: subject + other},
		}
		for _, a := range []Algorithm{References, Refs, OrderedSubject} {
			seen := make(map[uint32]int)
			for _, n := range Build(a, messages) {
				n.All(func(uid uint32) { seen[uid]++ })
			}
			if len(seen) != 3 || seen[1]+seen[2]+seen[3] != 3 {
				t.Fatalf("%s loses or doubles messages: %v", a, seen)
			}
		}
	})
}

package search

import "testing"

// FuzzParts reads structures, as a damaged cache may have them, and looks at all parts.
func FuzzParts(f *testing.F) {
	for _, s := range []string{
		`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 5 1 NIL NIL NIL NIL)`,
		`(("text" "plain" NIL NIL NIL "7bit" 5 1)("message" "rfc822" NIL NIL NIL "7bit" 9 ("Mon, 1 Jan 2024 10:00:00 +0000" "s" (("n" NIL "a" "b")) NIL NIL ((NIL NIL "g" NIL)(NIL NIL NIL NIL)) NIL NIL NIL "<m@x>") ("text" "html" NIL NIL NIL "8bit" 0 0 NIL ("attachment" ("filename" {3}` + "\r\n" + `a"b)) ("de" "en") "l") 3) "mixed" ("boundary" "b") NIL NIL NIL)`,
		"(((((", `("\`, "{9}\r\nx", "()", "(() NIL)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, structure string) {
		root, ok := parseParts(structure)
		if !ok || len(structure) > 1000 { // each part is compared with all inside
			return
		}
		for op := PartAnd; op <= partDate; op++ {
			k := &PartKey{Op: PartParent, Keys: []*PartKey{{Op: PartChild, Keys: []*PartKey{{Op: op, Not: true}}}}}
			k.first(root, 0)
		}
	})
}

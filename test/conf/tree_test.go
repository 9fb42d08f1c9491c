package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A node is a piece of a configuration that can be left out as a whole: lines,
// a section with what is in it, or a file that is included.
type node struct {
	text string  // lines before the children
	kids []*node //
	end  string  // line after the children
	file string  // the children are in this file, not here
}

// leaf is one logical line.
func leaf(text string) *node { return &node{text: text} }

// write adds the text of the nodes to files, beginning in the one called name.
func write(files map[string]*strings.Builder, name string, nodes []*node) {
	b := files[name]
	if b == nil {
		b = &strings.Builder{}
		files[name] = b
	}
	for _, n := range nodes {
		if n.text != "" {
			b.WriteString(n.text + "\n")
		}
		into := name
		if n.file != "" {
			into = n.file
		}
		write(files, into, n.kids)
		if n.end != "" {
			b.WriteString(n.end + "\n")
		}
	}
}

// texts are the files of a configuration by name.
func texts(name string, nodes []*node) map[string]string {
	files := map[string]*strings.Builder{}
	write(files, name, nodes)
	out := map[string]string{}
	for name, b := range files {
		out[name] = b.String()
	}
	return out
}

// install writes files to dir, dated in the past: Postfix reads a file again
// and again that is younger than a second.
func install(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// maxTries and maxShrink bound how often and how long shrink tries.
const (
	maxTries  = 1000
	maxShrink = 10 * time.Second
)

// shrink leaves out of nodes what it can while differs says that what is left
// still shows a difference.
func shrink(nodes []*node, differs func([]*node) bool) []*node {
	s := &shrinker{root: &node{kids: nodes}, differs: differs, end: time.Now().Add(maxShrink)}
	for before := -1; before != s.size() && !s.tired(); {
		before = s.size()
		s.node(s.root)
	}
	return s.root.kids
}

type shrinker struct {
	root    *node
	differs func([]*node) bool
	tries   int
	end     time.Time
}

func (s *shrinker) tired() bool { return s.tries >= maxTries || time.Now().After(s.end) }

func (s *shrinker) size() int { return count(s.root) }

func count(n *node) int {
	sum := 1
	for _, k := range n.kids {
		sum += count(k)
	}
	return sum
}

// node leaves out runs of the children of n, long ones first, then looks into those left.
func (s *shrinker) node(n *node) {
	for run := len(n.kids); run > 0; run /= 2 {
		for i := 0; i < len(n.kids); {
			all := n.kids
			end := min(i+run, len(all))
			n.kids = append(append([]*node{}, all[:i]...), all[end:]...)
			if s.still() {
				continue
			}
			n.kids = all
			i = end
		}
	}
	for _, k := range n.kids {
		s.node(k)
	}
}

func (s *shrinker) still() bool {
	s.tries++
	return !s.tired() && s.differs(s.root.kids)
}

package conf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// equalLines and configurations count what was found equal.
var equalLines, configurations atomic.Int64

// check compares two programs on a configuration, with each of the argument
// lists. If they differ it shrinks both and says how.
func check(t *testing.T, nodes []*node, modes [][]string, try func([]*node, [][]string) (map[string]string, *comparison)) {
	t.Helper()
	_, c := try(nodes, modes)
	for again := 0; again < 2 && len(c.diffs) > 0; again++ {
		// The original walks through hash tables in an order that is another each time.
		_, c = try(nodes, modes)
	}
	if len(c.diffs) == 0 {
		equalLines.Add(int64(c.equal))
		configurations.Add(1)
		return
	}
	for _, m := range modes {
		if _, c := try(nodes, [][]string{m}); len(c.diffs) > 0 {
			modes = [][]string{m}
			break
		}
	}
	nodes = shrink(nodes, func(n []*node) bool {
		_, c := try(n, modes)
		return len(c.diffs) > 0
	})
	files, c := try(nodes, modes)
	var b strings.Builder
	for name, text := range files {
		fmt.Fprintf(&b, "-- %s --\n%s", name, text)
	}
	t.Errorf("- is the original, + is ours\n%s-- differences --\n%s", b.String(), strings.Join(c.diffs, "\n"))
}

// A comparison collects the lines in which two programs differ.
type comparison struct {
	known []reason
	equal int
	diffs []string
}

// A reason explains a difference that stays.
type reason struct {
	line *regexp.Regexp // matches what the original ("-") or our program ("+") alone prints
	why  string
}

func because(line, why string) reason {
	return reason{regexp.MustCompile(line), why}
}

// results compares everything two programs did; what names the command.
func (c *comparison) results(what string, real, ours result) {
	c.text(what+": stdout", real.stdout, ours.stdout)
	c.text(what+": stderr", real.stderr, ours.stderr)
	if real.status != ours.status {
		c.add(what+": status", fmt.Sprintf("-exit status %d", real.status), fmt.Sprintf("+exit status %d", ours.status))
		return
	}
	c.equal++
}

// text compares two texts line by line.
func (c *comparison) text(what, real, ours string) {
	a, b := splitLines(real), splitLines(ours)
	edits := lineDiff(a, b)
	c.equal += (len(a) + len(b) - len(edits)) / 2
	c.add(what, edits...)
}

func (c *comparison) add(what string, edits ...string) {
	head := true
	for _, e := range edits {
		if c.explained(e) {
			continue
		}
		if head {
			c.diffs = append(c.diffs, what)
			head = false
		}
		c.diffs = append(c.diffs, "  "+e)
	}
}

func (c *comparison) explained(edit string) bool {
	return slices.ContainsFunc(c.known, func(r reason) bool { return r.line.MatchString(edit) })
}

func splitLines(s string) []string {
	lines := strings.SplitAfter(s, "\n")
	if lines[len(lines)-1] == "" {
		return lines[:len(lines)-1]
	}
	lines[len(lines)-1] += `\ no newline at the end`
	return lines
}

// lineDiff lists the lines that only a has, with "-" in front, and those that
// only b has, with "+", in order and without their newlines.
func lineDiff(a, b []string) []string {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var edits []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			edits = append(edits, "-"+strings.TrimSuffix(a[i], "\n"))
			i++
		default:
			edits = append(edits, "+"+strings.TrimSuffix(b[j], "\n"))
			j++
		}
	}
	return edits
}

// sortedLines puts the lines that match in order, for those whose order is
// that of a hash table.
func sortedLines(s string, match *regexp.Regexp) string {
	lines := splitLines(s)
	var picked []string
	for _, l := range lines {
		if match.MatchString(l) {
			picked = append(picked, l)
		}
	}
	slices.Sort(picked)
	for i, l := range lines {
		if match.MatchString(l) {
			lines[i], picked = picked[0], picked[1:]
		}
	}
	return strings.Join(lines, "")
}

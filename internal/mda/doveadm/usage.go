package doveadm

import (
	"fmt"
	"slices"
	"strings"
)

// usage prints the commands on standard error: all, or those of the group that
// args begin with. Subcommands of subcommands share a line.
func (s *session) usage(args []string) {
	group := ""
	if len(args) > 0 && s.isGroup(args[0]) {
		group = args[0]
	}
	lines, prefix := s.usageLines(group), ""
	if group != "" {
		prefix = group + " "
	}
	fmt.Fprintf(s.stderr, "usage: doveadm [-Dv] [-f <formatter>] %s<command> [<args>]\n%s", prefix, strings.Join(lines, ""))
}

func (s *session) isGroup(word string) bool {
	return slices.ContainsFunc(s.commands, func(c *command) bool { return strings.HasPrefix(c.name, word+" ") })
}

// usageLines are the commands below group, sorted.
func (s *session) usageLines(group string) []string {
	all := slices.Clone(s.commands)
	slices.SortFunc(all, func(a, b *command) int { return strings.Compare(a.name, b.name) })
	var lines []string
	last := "" // the word whose line is still open
	for _, c := range all {
		name := c.name
		if group != "" {
			var ok bool
			if name, ok = strings.CutPrefix(name, group+" "); !ok {
				continue
			}
		}
		word, sub, hasSub := strings.Cut(name, " ")
		sub, _, _ = strings.Cut(sub, " ")
		switch {
		case !hasSub:
			last = ""
			lines = append(lines, fmt.Sprintf("  %-12s %s\n", word, c.usageText()))
		case word == last:
			line := strings.TrimSuffix(lines[len(lines)-1], "\n")
			if !slices.Contains(strings.Split(line[15:], "|"), sub) {
				lines[len(lines)-1] = line + "|" + sub + "\n"
			}
		default:
			last = word
			lines = append(lines, fmt.Sprintf("  %-12s %s\n", word, sub))
		}
	}
	return lines
}

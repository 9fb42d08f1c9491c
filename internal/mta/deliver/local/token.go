package local

import (
	"bufio"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver/aliases"
)

// includePrefix begins the name of an :include: file.
const includePrefix = ":include:"

// tokens delivers to the destinations of a list.
func (d *delivery) tokens(s *state, members []string) (again bool) {
	for _, m := range members {
		if d.token(*s, m) {
			again = true
		}
	}
	return again
}

// token delivers to one destination.
func (d *delivery) token(s state, text string) bool {
	switch {
	case strings.HasPrefix(text, "/"):
		return d.file(s, text)
	case strings.HasPrefix(text, "~"):
		return d.homeFile(s, text)
	case strings.HasPrefix(text, "|"):
		if !d.toCommands[s.place] {
			return d.bounces(&s, "5.7.1", "mail to command is restricted")
		}
		return d.command(s, text[1:])
	case len(text) >= len(includePrefix) && strings.EqualFold(text[:len(includePrefix)], includePrefix):
		return d.include(s, text[len(includePrefix):])
	}
	return d.address(s, text)
}

// homeFile is a file in the home directory.
func (d *delivery) homeFile(s state, text string) bool {
	switch {
	case !strings.HasPrefix(text, "~/"):
		d.warnf("bad home directory syntax for: %s", text)
	case s.rights == nil:
		d.warnf("unknown home directory for: %s", text)
	case s.rights.Home == "/":
		return d.file(s, text[1:])
	default:
		return d.file(s, s.rights.Home+text[1:])
	}
	return d.bounces(&s, "5.3.5", "mail system configuration error")
}

// address delivers to an address: here if it is local, by a new message if not.
func (d *delivery) address(s state, text string) bool {
	s.level++
	addr := d.Resolver.Rewrite(d.ctx, "local", text)
	// As Postfix has it, not with s.sender: where the members of a list go does not
	// depend on who writes to it.
	res, err := d.Resolver.Resolve(d.ctx, "", addr)
	if err != nil {
		d.warnf("%s: recipient <%s>: %v", d.req.Message.ID, addr, err)
		return d.defers(&s, "4.3.0", "address resolver failure")
	}
	if res.BadSyntax {
		return d.bounces(&s, "5.1.3", "bad recipient address syntax: "+res.Recipient)
	}
	s.address = res.Recipient
	if s.unmatched != nil {
		at := strings.LastIndexByte(s.address, '@')
		if at < 0 {
			at = len(s.address)
		}
		s.address = s.address[:at] + s.delimiter() + *s.unmatched + s.address[at:]
	}
	if res.Transport == d.Service {
		return d.recipient(s)
	}
	return d.indirect(s)
}

// lines delivers to the destinations in a file, line by line; it stops at the first
// line of which something is to be tried again. Lines that begin with "#" are
// comments.
func (d *delivery) lines(s *state, in io.Reader) (count int, again bool) {
	r := bufio.NewReaderSize(in, max(d.set.LineLimit, 16))
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && err != bufio.ErrBufferFull && err != io.EOF {
			return count, d.defers(s, "4.3.0", "error reading forwarding file: "+err.Error())
		}
		if len(line) > 0 && line[0] != '#' {
			members := aliases.Parse(string(line))
			count += len(members)
			if d.tokens(s, members) {
				return count, true
			}
		}
		if err == io.EOF {
			return count, again
		}
		if d.ctx.Err() != nil {
			return count, d.defers(s, "4.3.0", "the mail system is stopping")
		}
	}
}

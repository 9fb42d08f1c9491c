package queuetool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/getopt"
)

const qshapeUsage = `Usage: qshape [ -s ] [ -p ] [ -m <min_subdomains> ] [ -l ]
	[ -b <bucket_count> ] [ -t <bucket_time> ] [ -w <terminal_width> ]
	[ -N <batch_msg_count> ] [ -n <batch_top_domains> ]
	[ -c <config_directory> ] [ <queue_name> ... ]
-s counts the domains of senders instead of recipients.
-p shows parent domains too, with a dot in front: those that are no top level
domain and of which at least <min_subdomains> (5) subdomains are shown.

The columns are ages in minutes: below <bucket_time> (5), below twice that, and
so on, <bucket_count> (10) of them; with -l each is <bucket_time> wide.

The queues counted are incoming and active, unless others are named.
`

// A shape is one run of qshape(1): messages by domain and age.
type shape struct {
	senders, parents, linear bool
	buckets, tick, minimum   int
	width, top               int
	queues                   []string
	now                      time.Time
	counts                   map[string][]int // by domain: in all, then by age
	subdomains               map[string]int
}

const total = "TOTAL"

// domainWidth is the least that a domain gets of a line.
const domainWidth = 18

// Qshape is qshape(1).
func Qshape(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cmd := newCommand("qshape", 255, stderr)
	s := &shape{
		buckets: 10, tick: 5, minimum: 5, width: 80, queues: []string{"incoming", "active"},
		now: time.Now(), counts: map[string][]int{}, subdomains: map[string]int{},
	}
	dir := getopt.ConfigDirectory()
	if isTerminal(stdout) {
		s.top = 20
	}
	help := false
	rest, ok := cmd.Options(args, "lhc:psw:b:t:m:n:N:", func(opt byte, value string) {
		if opt == 'c' {
			dir = value
		}
		help = s.option(opt, value) || help
	})
	if !ok || help {
		io.WriteString(stderr, qshapeUsage) //nolint:errcheck // there is nobody else to tell
		return cmd.Exit
	}
	if len(rest) > 0 {
		s.queues = s.queues[:0]
		for _, name := range rest {
			s.queues = append(s.queues, path.Base(name))
		}
	}
	c, err := newClient(dir)
	if err != nil {
		return cmd.Fatalf("%v", err)
	}
	err = c.reach(&Request{Op: "list"}, handler{entry: s.add})
	if err = errors.Join(err, c.close()); err != nil {
		return cmd.Fatalf("%v", err)
	}
	if err := s.print(stdout); err != nil {
		return cmd.Fatalf("%v", err)
	}
	return 0
}

// option takes one option, and says whether it asks for help. A number that is
// none, or too small, leaves the default.
func (s *shape) option(opt byte, value string) (help bool) {
	number := func(to *int, least int) {
		if n, err := strconv.Atoi(value); err == nil && n >= least && n <= maxShape {
			*to = n
		}
	}
	switch opt {
	case 'h':
		return true
	case 's':
		s.senders = true
	case 'p':
		s.parents = true
	case 'l':
		s.linear = true
	case 'b':
		number(&s.buckets, 1)
	case 't':
		number(&s.tick, 1)
	case 'm':
		number(&s.minimum, 1)
	case 'w':
		number(&s.width, 81)
	case 'n':
		if s.top > 0 {
			number(&s.top, 0)
		}
	}
	return false
}

// maxShape bounds the numbers of options.
const maxShape = 10000

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// add counts one message.
func (s *shape) add(e *Entry) error {
	if !slices.Contains(s.queues, e.Queue) {
		return nil
	}
	b := s.bucket(s.now.Sub(time.Unix(e.Arrival, 0)))
	if s.senders {
		s.count(e.Sender, b)
		return nil
	}
	for i := range e.Recipients {
		s.count(e.Recipients[i].Address, b)
	}
	return nil
}

// bucket returns the column of an age.
func (s *shape) bucket(age time.Duration) int {
	m := age.Minutes() / float64(s.tick)
	switch {
	case m < 1:
		return 1
	case s.linear:
		return int(min(m+1, float64(s.buckets)))
	}
	return min(2+int(math.Log2(m)), s.buckets)
}

// count counts an address, by its domain and the domains above it. A domain is
// one subdomain of the one above it, whatever is counted there.
func (s *shape) count(addr string, bucket int) {
	s.bump(total, bucket)
	domain := strings.ToLower(addr)
	if addr == "MAILER-DAEMON" {
		domain = addr
	}
	domain = domain[strings.LastIndexByte(domain, '@')+1:]
	domain = strings.Trim(strings.ReplaceAll(domain, "..", "."), ".")
	if domain == "" {
		domain = "."
	}
	fresh := s.bump(domain, bucket)
	for up, ok := parent(domain); s.parents && ok; up, ok = parent(up) {
		if fresh {
			s.subdomains[up]++
		}
		fresh = s.bump(up, bucket)
	}
}

// bump counts, and says whether the domain is new.
func (s *shape) bump(domain string, bucket int) (fresh bool) {
	c := s.counts[domain]
	if c == nil {
		c = make([]int, s.buckets+1)
		s.counts[domain] = c
		fresh = true
	}
	c[0]++
	c[bucket]++
	return fresh
}

// parent returns the domain above, with a dot in front, unless that is a top
// level domain.
func parent(domain string) (string, bool) {
	_, above, _ := strings.Cut(strings.TrimPrefix(domain, "."), ".")
	if !strings.Contains(above, ".") {
		return "", false
	}
	return "." + above, true
}

// print writes the table. The columns are as wide as their largest number.
func (s *shape) print(w io.Writer) error {
	if s.counts[total] == nil {
		s.counts[total] = make([]int, s.buckets+1)
	}
	heads, widths, left := s.columns()
	row := func(domain string, cells []string) string {
		var b strings.Builder
		b.WriteString(cut(domain, left))
		for i, c := range cells {
			fmt.Fprintf(&b, "%*s", widths[i], c)
		}
		return b.String() + "\n"
	}
	if _, err := io.WriteString(w, row("", heads)); err != nil {
		return err
	}
	shown := 0
	for _, domain := range s.sorted() {
		if domain[0] == '.' && s.subdomains[domain] < s.minimum {
			continue
		}
		if shown++; s.top > 0 && shown > s.top {
			break
		}
		cells := make([]string, len(heads))
		for i, n := range s.counts[domain] {
			cells[i] = strconv.Itoa(n)
		}
		if _, err := io.WriteString(w, row(domain, cells)); err != nil {
			return err
		}
	}
	return nil
}

// columns returns the headings, the widths of the columns, and what is left for
// the domain.
func (s *shape) columns() (heads []string, widths []int, left int) {
	left = s.width
	age := 0
	for i := 0; i <= s.buckets; i++ {
		head := "T"
		if i > 0 {
			head = strconv.Itoa(age)
		}
		if i > 0 && i == s.buckets {
			head += "+"
		}
		wide := max(len(strconv.Itoa(s.counts[total][i])), len(head))
		if wide = wide + 1; wide < 3 {
			wide = 3
		}
		heads, widths = append(heads, head), append(widths, wide)
		left -= wide
		if i+1 < s.buckets {
			if age > 0 && !s.linear {
				age *= 2
			} else {
				age += s.tick
			}
		}
	}
	return heads, widths, max(left, domainWidth)
}

// cut fits a domain into a width: right-aligned, or its end.
func cut(domain string, width int) string {
	switch {
	case len(domain) <= width:
		return strings.Repeat(" ", width-len(domain)) + domain
	case domain[0] == '.':
		return ".+" + domain[len(domain)-width+2:]
	}
	return "+" + domain[len(domain)-width+1:]
}

// sorted returns the domains, those with most first, short ones before long.
func (s *shape) sorted() []string {
	all := make([]string, 0, len(s.counts))
	for domain := range s.counts {
		all = append(all, domain)
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.counts[b][0], s.counts[a][0]), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	return all
}

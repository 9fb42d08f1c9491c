package sendmail

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// options are what the command line asks for.
type options struct {
	mode       mode
	recipients []string // as given

	sender    string
	hasSender bool
	fullName  string
	hasName   bool
	encoding  string // "", "7bit", "8bit"
	context   string // "local", or "remote": header addresses stay as they are
	envID     string
	ret       byte
	notify    uint8
	verp      string
	extract   bool // recipients from the header
	dotEnds   bool // a line with a dot only ends the message
	verbose   int
	verify    bool // -bv
	record    bool // -v

	every   bool // -q15m
	site    string
	id      string
	aliases string
}

// withValue are the options that take a value, flags those that do not.
const (
	withValue = "ABCFLNORVXbefhopqr"
	flags     = "GIUcimntvx"
)

// A scanner takes options off a command line as getopt(3) does: they may be
// joined, and the first argument that is none ends them. "-q", which is both an
// option and the beginning of others, is only itself, and -V without more than
// VERP delimiters is the old form of -XV.
type scanner struct {
	args []string
	in   string // what is left of joined options
	warn func(format string, args ...any)
}

// next returns an option; 0 at their end.
func (s *scanner) next() (opt byte, value string, err error) {
	if s.in == "" {
		if len(s.args) == 0 || len(s.args[0]) < 2 || s.args[0][0] != '-' {
			return 0, "", nil
		}
		arg := s.args[0]
		if arg == "--" {
			s.args = s.args[1:]
			return 0, "", nil
		}
		if arg == "-q" {
			s.args = s.args[1:]
			return 'q', "", nil
		}
		arg = s.oldVERP(arg)
		s.args = s.args[1:]
		if arg == "-XV" {
			return 'X', "V", nil
		}
		s.in = arg[1:]
	}
	opt, s.in = s.in[0], s.in[1:]
	switch {
	case strings.IndexByte(flags, opt) >= 0:
		return opt, "", nil
	case strings.IndexByte(withValue, opt) < 0:
		return '?', string(opt), nil
	case s.in != "":
		value, s.in = s.in, ""
	case len(s.args) > 0:
		value, s.args = s.args[0], s.args[1:]
	default:
		return ':', string(opt), nil
	}
	return opt, value, nil
}

// oldVERP understands -V as it was before it was the envelope id.
func (s *scanner) oldVERP(arg string) string {
	switch {
	case arg == "-V" && len(s.args) > 1 && len(s.args[1]) == 2:
		s.warnf("option -V is deprecated with Postfix 2.3; specify -XV instead")
		return "-XV"
	case len(arg) == 4 && strings.HasPrefix(arg, "-V"):
		s.warnf("option %s is deprecated with Postfix 2.3; specify -X%s instead", arg, arg[1:])
		return "-X" + arg[1:]
	}
	return arg
}

func (s *scanner) warnf(format string, args ...any) {
	if s.warn != nil {
		s.warn(format, args...)
	}
}

// parse reads the options.
func (c *command) parse(args []string) error {
	s := scanner{args: args, warn: c.warnf}
	for {
		opt, value, err := s.next()
		if err != nil {
			return err
		}
		if opt == 0 {
			c.opt.recipients = s.args
			return nil
		}
		if err := c.option(opt, value); err != nil {
			return err
		}
	}
}

// option takes one option. Those of Sendmail that mean nothing here are ignored.
func (c *command) option(opt byte, value string) error {
	o := &c.opt
	switch opt {
	case '?', ':':
		what := "%s: invalid option -- '%s'\n"
		if opt == ':' {
			what = "%s: option requires an argument -- '%s'\n"
		}
		fmt.Fprintf(c.stderr, what, c.name, value)
		return fatalf("usage: %s [options]", c.name)
	case 'n':
		return fatalf("-n option not supported")
	case 'B':
		encodings := map[string]string{"8BITMIME": "8bit", "7BIT": "7bit"}
		if o.encoding = encodings[value]; o.encoding == "" {
			return fatalf("-B option needs 8BITMIME or 7BIT")
		}
	case 'F':
		o.fullName, o.hasName = value, true
	case 'G':
		o.context = "remote"
	case 'I':
		o.mode = newaliases
	case 'N':
		if o.notify = c.notifyMask(value); o.notify == 0 {
			c.warnf("bad -N option value -- ignored")
		}
	case 'R':
		if o.ret = retCode(value); o.ret == 0 {
			c.warnf("bad -R option value -- ignored")
		}
	case 'V':
		c.envelopeID(value)
	case 'X':
		return c.verp(value)
	case 'b':
		return c.chooseMode(value)
	case 'f', 'r':
		o.sender, o.hasSender = value, true
	case 'i':
		o.dotEnds = false
	case 'o':
		return c.oldOption(value)
	case 'q':
		return c.queueRun(value)
	case 't':
		o.extract = true
	case 'v':
		o.verbose++
	}
	return nil
}

// envelopeID takes an ENVID (RFC 3461 4.4), which is at most 100 characters long.
func (c *command) envelopeID(value string) {
	const maxEnvID = 100
	switch {
	case len(value) > maxEnvID:
		c.warnf("too long -V option value -- ignored")
	case value == "", strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		c.warnf("bad syntax in -V option value -- ignored")
	default:
		c.opt.envID = value
	}
}

func (c *command) verp(value string) error {
	if value == "" || value[0] != 'V' {
		return fatalf("unsupported: -X%.1s", value)
	}
	delims := value[1:]
	if delims == "" {
		delims = c.set.VERPDelimiters
	} else if len(delims) != 2 || strings.Trim(delims, c.set.VERPFilter) != "" {
		return fatalf("-V requires two characters from %s", c.set.VERPFilter)
	}
	c.opt.verp = delims
	return nil
}

func (c *command) chooseMode(value string) error {
	o := &c.opt
	if value == "" {
		return fatalf("unsupported: -b")
	}
	switch value[0] {
	case 'd', 'l':
		if o.mode == flush {
			c.warnf("ignoring -q option in daemon mode")
		}
		o.mode = daemon
	case 'h', 'H':
		o.mode = ignore
	case 'i':
		o.mode = newaliases
	case 'm':
		o.mode = enqueue
	case 'p':
		o.mode = mailq
	case 's':
		o.mode = standAlone
	case 'v':
		o.verify = true
	default:
		return fatalf("unsupported: -b%c", value[0])
	}
	return nil
}

// oldOption takes what Sendmail calls processing options.
func (c *command) oldOption(value string) error {
	switch {
	case strings.HasPrefix(value, "i"):
		c.opt.dotEnds = false
	case value == "A":
		return fatalf("-oA requires pathname")
	case strings.HasPrefix(value, "A"):
		c.opt.aliases = value[1:]
	}
	return nil
}

func (c *command) queueRun(value string) error {
	o := &c.opt
	switch {
	case value == "":
		if o.mode == daemon {
			c.warnf("ignoring -q option in daemon mode")
			return nil
		}
		o.mode = flush
	case value[0] >= '0' && value[0] <= '9':
		o.every = true
	case value[0] == 'R':
		if o.site = value[1:]; o.site == "" {
			return fatalf("specify: -qRsitename")
		}
	case value[0] == 'I':
		if o.id = value[1:]; o.id == "" {
			return fatalf("specify: -qIqueueid")
		}
	default:
		return fatalf("-q%c is not implemented", value[0])
	}
	return nil
}

// conflicts refuses options that do not go together. A single -v asks for a
// report of the delivery, more of them for verbose logging.
func (c *command) conflicts() error {
	o := &c.opt
	switch {
	case o.extract && o.mode != enqueue:
		return fatalf("-t can be used only in delivery mode")
	case o.site != "" && o.mode != enqueue:
		return fatalf("-qR can be used only in delivery mode")
	case o.id != "" && o.mode != enqueue:
		return fatalf("-qI can be used only in delivery mode")
	case o.verify && o.extract:
		return fatalf("-t option cannot be used with -bv")
	case o.verify && o.notify != 0:
		return fatalf("-N option cannot be used with -bv")
	case o.verify && o.ret != 0:
		return fatalf("-R option cannot be used with -bv")
	case o.verify && o.verbose == 1:
		return fatalf("-v option cannot be used with -bv")
	}
	if o.verbose == 1 && o.mode == enqueue {
		o.verbose, o.record = 0, true
	}
	return nil
}

// notifyMask is the value of -N; 0 if it is none.
func (c *command) notifyMask(value string) uint8 {
	bits := map[string]uint8{
		"never": queue.NotifyNever, "success": queue.NotifySuccess, "failure": queue.NotifyFailure, "delay": queue.NotifyDelay,
	}
	var mask uint8
	for _, word := range postfix.SplitList(value) {
		bit := bits[strings.ToLower(word)]
		if bit == 0 {
			c.warnf("unknown DSN NOTIFY command value %q in %q", word, value)
			return 0
		}
		mask |= bit
	}
	if mask&queue.NotifyNever != 0 && mask != queue.NotifyNever {
		return 0
	}
	return mask
}

// retCode is the value of -R; 0 if it is none.
func retCode(value string) byte {
	switch strings.ToLower(value) {
	case "full":
		return queue.RetFull
	case "hdrs":
		return queue.RetHeaders
	}
	return 0
}

package postconf

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A mode is a set of options.
type mode uint32

const (
	showSASLServer mode = 1 << iota
	showSASLClient
	expandTemplates
	showDefaults
	editConf
	foldLines
	masterFields
	hideNames
	hideValues
	showLocks
	showMaps
	masterEntries
	showChanged
	override
	mainParams
	masterParams
	dumpTemplates
	showTLS
	expandValues
	exclude
	commentOut
)

const (
	masterModes = masterEntries | masterFields | masterParams
	editModes   = editConf | exclude | commentOut
	majorModes  = showSASLServer | showSASLClient | expandTemplates | showLocks | showMaps | dumpTemplates | mainParams | masterModes | showTLS
)

// letters are the options without argument and those of that name in messages, in
// the order in which messages list them.
var letters = []struct {
	letter byte
	mode   mode
}{
	{'a', showSASLServer}, {'A', showSASLClient}, {'b', expandTemplates}, {'d', showDefaults}, {'e', editConf},
	{'f', foldLines}, {'F', masterFields}, {'h', hideNames}, {'H', hideValues}, {'l', showLocks}, {'m', showMaps},
	{'M', masterEntries}, {'n', showChanged}, {'o', override}, {'p', mainParams}, {'P', masterParams},
	{'t', dumpTemplates}, {'T', showTLS}, {'x', expandValues}, {'X', exclude}, {'#', commentOut},
}

// exclusive are options of which only one of each group may be given.
var exclusive = []mode{
	majorModes,
	showDefaults | showChanged | editModes,
	foldLines | editModes,
	expandValues | editModes,
	override | showDefaults | editModes,
	hideNames | hideValues | editModes,
}

// compatible are the options that go with each major mode.
var compatible = []struct{ major, with mode }{
	{showSASLServer, 0},
	{showSASLClient, 0},
	{expandTemplates, 0},
	{showLocks, 0},
	{showMaps, 0},
	{showTLS, 0},
	{dumpTemplates, 0},
	{mainParams, editModes | foldLines | hideNames | hideValues | expandValues | showDefaults | showChanged | override},
	{masterEntries, editModes | foldLines | override | expandValues},
	{masterFields, editConf | foldLines | hideNames | hideValues | override | expandValues},
	{masterParams, editConf | exclude | foldLines | hideNames | hideValues | override | expandValues},
}

func (m mode) String() string {
	var names []string
	for _, l := range letters {
		if m&l.mode != 0 {
			names = append(names, "-"+string(l.letter))
		}
	}
	return strings.Join(names, " ")
}

// options are the command line.
type options struct {
	mode      mode
	dir       string // -c
	classes   class  // -C
	overrides []string
	tls       string // -T
	verbose   bool
}

var errUsage = errors.New("usage: postconf [-a (server SASL types)] [-A (client SASL types)] [-b (bounce templates)]" +
	" [-c config_dir] [-c param_class] [-d (parameter defaults)] [-e (edit configuration)] [-f (fold lines)]" +
	" [-F (master.cf fields)] [-h (no names)] [-H (no values)] [-l (lock types)] [-m (map types)] [-M (master.cf)]" +
	" [-n (non-default parameters)] [-o name=value (override parameter value)] [-p (main.cf, default)]" +
	" [-P (master.cf parameters)] [-t (bounce templates)] [-T compile-version|run-version|public-key-algorithms]" +
	" [-v (verbose)] [-x (expand parameter values)] [-X (exclude)] [-# (comment-out)] [name...]")

// parse reads the options and returns the other arguments. What getopt(3) would
// complain of goes to stderr.
func (o *options) parse(args []string, stderr io.Writer) ([]string, error) {
	o.classes = allClasses
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0][1:]
		args = args[1:]
		if arg == "-" {
			break
		}
		for ; arg != ""; arg = arg[1:] {
			if !strings.Contains("cCoT", arg[:1]) {
				if err := o.flag(arg[0], stderr); err != nil {
					return nil, err
				}
				continue
			}
			value := arg[1:]
			if value == "" {
				if len(args) == 0 {
					fmt.Fprintf(stderr, "postconf: option requires an argument -- '%c'\n", arg[0])
					return nil, errUsage
				}
				value, args = args[0], args[1:]
			}
			if err := o.value(arg[0], value); err != nil {
				return nil, err
			}
			break
		}
	}
	o.imply(args)
	return args, o.check(args)
}

func (o *options) flag(letter byte, stderr io.Writer) error {
	if letter == 'v' {
		o.verbose = true
		return nil
	}
	for _, l := range letters {
		if l.letter != letter {
			continue
		}
		templates := expandTemplates | dumpTemplates
		if l.mode&templates != 0 && o.mode&templates != 0 {
			return errors.New("specify one of -b and -t")
		}
		o.mode |= l.mode
		return nil
	}
	fmt.Fprintf(stderr, "postconf: invalid option -- '%c'\n", letter)
	return errUsage
}

func (o *options) value(letter byte, value string) error {
	switch letter {
	case 'c':
		o.dir = value
	case 'C':
		return o.setClasses(value)
	case 'o':
		o.mode |= override
		o.overrides = append(o.overrides, value)
	case 'T':
		if o.mode&showTLS != 0 {
			return errors.New("At most one -T <mode> option may be specified")
		}
		o.mode |= showTLS
		o.tls = value
	}
	return nil
}

func (o *options) setClasses(value string) error {
	o.classes = 0
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		i := slices.IndexFunc(classNames, func(n className) bool { return strings.EqualFold(n.name, word) })
		if i < 0 {
			return fmt.Errorf("unknown -C option value \"%s\" in \"%s\"", word, value)
		}
		o.classes |= classNames[i].class
	}
	return nil
}

// imply makes explicit what the arguments ask for.
func (o *options) imply(args []string) {
	if o.mode&majorModes == 0 {
		o.mode |= mainParams
	}
	if o.mode&(mainParams|masterModes) != 0 && len(args) > 0 && strings.Contains(args[0], "=") {
		o.mode |= editConf
	}
}

func (o *options) check(args []string) error {
	for _, group := range exclusive {
		if both := o.mode & group; both&(both-1) != 0 {
			return fmt.Errorf("specify one of %s", both)
		}
	}
	for _, c := range compatible {
		if excess := o.mode &^ (c.major | c.with); o.mode&c.major != 0 && excess != 0 {
			return fmt.Errorf("with option %s, do not specify %s", c.major, excess)
		}
	}
	if o.mode&editConf != 0 && len(args) == 0 {
		return errors.New("-e requires name=value argument")
	}
	return nil
}

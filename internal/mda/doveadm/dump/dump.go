package dump

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Exit codes of sysexits.h, as doveadm uses them.
const (
	exUsage    = 64
	exDataErr  = 65
	exTempFail = 75
)

const usage = "doveadm dump [-t <type>] <path> [<type-specific args>]"

// A fileType is one kind of files that can be shown.
type fileType struct {
	name string
	is   func(path string) bool // nil: only with -t
	dump func(d *dumper, path string, args []string) error
}

// types are in the order in which a file is tried.
var types = []fileType{
	{"dbox", isDbox, (*dumper).dbox},
	{"index", isIndex, (*dumper).index},
	{"log", isLog, (*dumper).log},
	{"mailboxlog", isMailboxLog, (*dumper).mailboxLog},
	{"thread", isThread, (*dumper).thread},
	{"imapzlib", isIMAPZlib, (*dumper).imapZlib},
	{"dcrypt-file", nil, notAvailable("dcrypt-file")},
	{"dcrypt-key", nil, notAvailable("dcrypt-key")},
	{"multiplex", nil, notAvailable("multiplex")},
}

// A dumper writes the text.
type dumper struct {
	out    *bufio.Writer
	stderr io.Writer
}

func (d *dumper) printf(format string, args ...any) { fmt.Fprintf(d.out, format, args...) }

// complain reports something wrong that does not end the work.
func (d *dumper) complain(format string, args ...any) {
	fmt.Fprintf(d.stderr, "Error: "+format+"\n", args...)
}

// Main runs the command with its arguments and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) int {
	name, given, operands, err := options(args)
	if err != nil {
		fmt.Fprintf(stderr, "%v\n", err)
		return exUsage
	}
	if len(operands) == 0 {
		fmt.Fprintln(stderr, usage)
		return exUsage
	}
	path := operands[0]
	t, code := choose(name, given, path, stderr)
	if t == nil {
		return code
	}
	d := &dumper{out: bufio.NewWriterSize(stdout, 64<<10), stderr: stderr}
	if !given {
		d.printf("Detected file type: %s\n", t.name)
	}
	err = t.dump(d, path, operands[1:])
	if e := d.out.Flush(); err == nil && e != nil {
		err = fmt.Errorf("write(stdout) failed: %w", e)
	}
	if err != nil {
		fmt.Fprintf(stderr, "Fatal: %v\n", err)
		return exTempFail
	}
	return 0
}

// options takes -t from the arguments; it may follow the path.
func options(args []string) (typ string, given bool, operands []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			return typ, given, append(operands, args...), nil
		case !strings.HasPrefix(arg, "-") || arg == "-":
			operands = append(operands, arg)
		case arg[1] != 't':
			return "", false, nil, fmt.Errorf("dump: invalid option -- '%c'", arg[1])
		case len(arg) > 2:
			typ, given = arg[2:], true
		case len(args) == 0:
			return "", false, nil, errors.New("dump: option requires an argument -- 't'")
		default:
			typ, given, args = args[0], true, args[1:]
		}
	}
	return typ, given, operands, nil
}

// choose returns the type asked for, or that of the file.
func choose(name string, given bool, path string, stderr io.Writer) (*fileType, int) {
	for i := range types {
		t := &types[i]
		if given && t.name == name || !given && t.is != nil && t.is(path) {
			return t, 0
		}
	}
	if !given {
		fmt.Fprintf(stderr, "Fatal: Can't autodetect file type: %s\n", path)
		return nil, exDataErr
	}
	fmt.Fprint(stderr, "Available dump types:")
	for i := range types {
		fmt.Fprint(stderr, " ", types[i].name)
	}
	fmt.Fprintf(stderr, "\nFatal: Unknown type: %s\n", name)
	return nil, exUsage
}

func notAvailable(name string) func(*dumper, string, []string) error {
	return func(*dumper, string, []string) error {
		return fmt.Errorf("files of type %s are not supported by this version of Dovetail", name)
	}
}

// date shows a UNIX time as local time.
func date[T uint32 | int64](unix T) string {
	return time.Unix(int64(unix), 0).Format("2006-01-02 15:04:05")
}

// openError words a failed open(2) as the original does.
func openError(path string, err error) error {
	return fmt.Errorf("open(%s) failed: %s", path, reason(err))
}

// reason is strerror(3)'s text for an error of a system call.
func reason(err error) string {
	var errno interface{ Error() string }
	for e := err; e != nil; e = errors.Unwrap(e) {
		errno = e
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// prefix returns up to n first bytes of a file.
func prefix(path string, n int) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, n)
	n, err = io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return b[:n]
}

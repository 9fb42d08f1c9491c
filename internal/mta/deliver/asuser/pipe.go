package asuser

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A PipeEntry is what the arguments of a pipe(8) entry in master.cf say.
type PipeEntry struct {
	User, Group string
	Command     []string // the program and its arguments, with macros
	Directory   string
	Chroot      string
	NullSender  string
	EOL         string
	Size        int64 // 0 for no limit

	Blank, Delivered, From, Original, ReturnPath, Final, Dot, Quote bool // flags BDFORX.>
	FoldHost, FoldUser, QuoteAddress                                bool // flags huq
}

// ParsePipe reads the arguments. Errors are Postfix's.
func ParsePipe(e *postfix.ServiceEntry) (*PipeEntry, error) {
	p := &PipeEntry{NullSender: "MAILER-DAEMON", EOL: "\n"}
	for i, arg := range e.Args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		switch strings.ToLower(name) {
		case "flags":
			err = p.flags(value)
		case "user":
			p.User, p.Group, _ = strings.Cut(value, ":")
		case "directory":
			p.Directory = value
		case "chroot":
			p.Chroot = value
		case "eol":
			p.EOL = unescape(value)
		case "null_sender":
			p.NullSender = value
		case "size":
			if p.Size, err = strconv.ParseInt(value, 10, 64); err != nil || p.Size < 0 {
				err = fmt.Errorf("get_service_attr: bad size= value: %s", value)
			}
		case "argv":
			p.Command = append([]string{value}, e.Args[i+1:]...)
			return p, p.check()
		default:
			err = fmt.Errorf("unknown attribute name: %s", arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, p.check()
}

func (p *PipeEntry) check() error {
	switch {
	case p.User == "":
		return errors.New("missing user= command-line attribute")
	case len(p.Command) == 0:
		return errors.New("missing argv= command-line attribute")
	}
	return nil
}

func (p *PipeEntry) flags(value string) error {
	for _, c := range value {
		flag := map[rune]*bool{
			'B': &p.Blank, 'D': &p.Delivered, 'F': &p.From, 'O': &p.Original, 'R': &p.ReturnPath, 'X': &p.Final,
			'.': &p.Dot, '>': &p.Quote, 'h': &p.FoldHost, 'u': &p.FoldUser, 'q': &p.QuoteAddress,
		}[c]
		if flag == nil {
			return fmt.Errorf("unknown flag: %c (ignored)", c)
		}
		*flag = true
	}
	return nil
}

// unescape replaces the escapes of the C language.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; {
		case strings.IndexByte("abfnrtv", c) >= 0:
			b.WriteByte("\a\b\f\n\r\t\v"[strings.IndexByte("abfnrtv", c)])
		case '0' <= c && c <= '7':
			n, end := 0, i
			for end < len(s) && end < i+3 && '0' <= s[end] && s[end] <= '7' {
				n = n<<3 | int(s[end]-'0')
				end++
			}
			b.WriteByte(byte(n))
			i = end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

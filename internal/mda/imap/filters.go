package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// maxFilters is how many filters one search may use: they may use each other.
const maxFilters = 100

var (
	errTooManyFilters = bad("Too many filters in search query")
	errFilterName     = bad("Invalid filter name")
)

// isFilterName reports whether the name can be that of a filter: it is an atom (RFC 5466 3.1). Others
// could not be told in the response codes about filters either.
func isFilterName(name []byte) bool {
	return len(name) > 0 && !slices.ContainsFunc(name, func(c byte) bool {
		return c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0
	})
}

// filter reads the key FILTER (RFC 5466 3.1), which stands for the keys kept under that name.
func (p *searchParser) filter() (*search.Key, error) {
	name, err := p.param()
	if err != nil {
		return nil, err
	}
	if !isFilterName(name) {
		return nil, errFilterName
	}
	if p.filters++; p.filters > maxFilters {
		return nil, errTooManyFilters
	}
	text, err := p.lookUp(strings.ToLower(string(name)))
	if err != nil {
		return nil, err
	}
	args, err := filterArgs(text)
	if err != nil || len(args) == 0 {
		return nil, badFilter(name)
	}
	rest, charset := p.args, p.charset
	p.args, p.charset = args, "UTF-8"
	key, err := p.all()
	p.args, p.charset = rest, charset
	if wrong := (*imapwire.Error)(nil); errors.As(err, &wrong) && wrong != errTooManyFilters {
		return nil, badFilter(name)
	}
	return key, err
}

// filterArgs reads the keys that a filter stands for as those of a command.
func filterArgs(text string) (imapwire.Args, error) {
	noLiteral := func() error { return errArguments }
	d := imapwire.NewDecoder(strings.NewReader("f SEARCH "+text+"\r\n"), imapwire.Limits{}, noLiteral)
	if err := d.Command(); err != nil {
		return nil, err
	}
	return d.Args(0)
}

func badFilter(name []byte) error {
	return &reply{cond: condNo, code: "[BADFILTER " + string(name) + "] ", text: "Filter cannot be used."}
}

// filterText returns what a filter is: the user's own or, without one, the one for all (RFC 5466 3.2).
func (s *session) filterText(name string) (string, error) {
	for _, shared := range []bool{false, true} {
		if strings.ContainsRune(name, '/') {
			break
		}
		value, ok, err := s.user.Metadata(s.ctx, store.Attribute{Shared: shared, Key: "filters/values/" + name})
		if ok || err != nil && !isImpossible(err) {
			return value, err
		}
	}
	return "", &reply{cond: condNo, code: "[UNDEFINED-FILTER " + name + "] ", text: "Filter is not defined."}
}

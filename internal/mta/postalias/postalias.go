// Package postalias is postalias(1), which makes and queries alias databases. Its source is that of Sendmail: "name: value, ..." (aliases(5)).
package postalias

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/internal/table/postmap"
)

var program = postmap.Program{
	Name:    "postalias",
	Usage:   "[-Nfinoprsuvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
	Options: "Nc:d:finopq:rsuvw",
	Listing: ":\t",
	Read:    readAliases,
	Finish:  sign,
}

// Main runs postalias and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return program.Run(args, stdin, stdout, stderr)
}

// readAliases reads lines of a name, a colon and a value. Names become what is looked up,
// without quotes; values stay as they can be parsed again, in one way of writing them.
func readAliases(in io.Reader, name string, o table.SourceOptions, fn func(table.Record) error) error {
	lines := logline.NewReader(in, name, o.Warn)
	for {
		text, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := parseAlias(text, o.UTF8)
		if err != nil {
			o.Warn(fmt.Sprintf("%s, line %d: %v", name, n, err))
			continue
		}
		r.Line = n
		if err := fn(r); err != nil {
			return err
		}
	}
}

func parseAlias(text string, wantUTF8 bool) (table.Record, error) {
	if wantUTF8 && !utf8.ValidString(text) {
		return table.Record{}, fmt.Errorf("non-UTF-8 input \"%s\" -- ignoring this line", table.Printable(text))
	}
	tokens := rfc822.Scan(text, 0)
	is := func(kinds ...rfc822.Kind) func(rfc822.Token) bool {
		return func(t rfc822.Token) bool { return slices.Contains(kinds, t.Kind) }
	}
	colon := slices.IndexFunc(tokens, is(':'))
	if colon < 1 || colon+1 == len(tokens) || slices.ContainsFunc(tokens[:colon], is(',')) {
		return table.Record{}, fmt.Errorf("need name:value pair")
	}
	if slices.ContainsFunc(tokens[:colon], is('@', '%')) {
		return table.Record{}, fmt.Errorf("name must be local")
	}
	return table.Record{Key: rfc822.Internal(tokens[:colon]), Value: rfc822.External(tokens[colon+1:])}, nil
}

// sign marks the table as complete, as other programs that read alias databases expect it.
func sign(b *table.Builder, main *postfix.Main) error {
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	b.ReplaceRest()
	b.Add("@", "@")
	b.AddRaw("YP_LAST_MODIFIED", strconv.FormatInt(time.Now().Unix(), 10))
	b.AddRaw("YP_MASTER_NAME", core.Myhostname)
	return nil
}

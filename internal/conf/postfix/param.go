package postfix

import (
	_ "embed"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
)

// Kind is the type of a parameter.
type Kind uint8

// The kinds of parameters.
const (
	KindString Kind = iota // text with $name expanded
	KindRaw                // text used as it is written
	KindBool               // yes or no
	KindInt                // 32-bit number
	KindSize               // 64-bit number of bytes
	KindTime               // seconds, with an optional unit
)

// Param describes one parameter, whether or not anything uses it.
type Param struct {
	Name      string
	Kind      Kind
	Limits    Limits
	Default   string // as it would be written in main.cf, in this flavor
	upstream  string // the default without the changes of a distribution
	Computed  bool   // the default is made at run time
	ReadOnly  bool   // set by the program, not by main.cf
	Legacy    bool   // an old name, used in the default of the new one
	Transport bool   // of one delivery transport of the stock master.cf
	Since     string // first version of Postfix that has it
	Newer     bool   // Postfix 3.7 does not have it, nor is it supported here
	Supported bool   // a registered struct has it
	Programs  []string
	Doc       string
}

// Limits bound a number (of seconds, for a time) or the length of a text.
type Limits struct {
	Min, Max       int64
	HasMin, HasMax bool
	Nonempty       bool
	MinLen         int
}

//go:embed catalog.tsv
var catalog string

var kindNames = map[string]Kind{
	"str": KindString, "raw": KindRaw, "bool": KindBool, "int": KindInt, "size": KindSize, "time": KindTime,
}

// catalogParams is the table of all parameters of Postfix.
var catalogParams = sync.OnceValue(readCatalog)

// readCatalog reads the embedded table.
func readCatalog() map[string]*Param {
	n := strings.Count(catalog, "\n")
	all := make([]Param, 0, n)
	params := make(map[string]*Param, n)
	programs := map[string][]string{}
	for row := range strings.Lines(catalog) {
		if row[0] == '#' {
			continue
		}
		all = append(all, Param{})
		p := &all[len(all)-1]
		p.readRow(strings.TrimSuffix(row, "\n"), programs)
		params[p.Name] = p
	}
	return params
}

// readRow reads a row of the catalog. Programs has the lists that there were so far.
func (p *Param) readRow(row string, programs map[string][]string) {
	var col [8]string
	for i := range col {
		col[i], row, _ = strings.Cut(row, "\t")
	}
	p.Name, p.Kind, p.Limits, p.Since, p.Doc = col[0], kindNames[col[1]], parseLimits(col[2]), col[5], col[7]
	p.setDefault(col[3])
	p.Newer = isNewer(p.Since)
	for flag := range strings.SplitSeq(col[4], ",") {
		switch flag {
		case "computed":
			p.Computed = true
		case "readonly":
			p.ReadOnly = true
		case "legacy":
			p.Legacy = true
		case "transport":
			p.Transport = true
		case "backported":
			p.Newer = false
		}
	}
	list, ok := programs[col[6]]
	if !ok {
		list = slices.Clip(strings.Split(col[6], ","))
		programs[col[6]] = list
	}
	p.Programs = list
}

// isNewer reports whether a version, with those that a change went back to in
// parentheses, is after the one that mail_version names.
func isNewer(since string) bool {
	first, others, _ := strings.Cut(since, " ")
	minor, ok := strings.CutPrefix(first, "3.")
	if !ok || strings.Contains(others, "3.7.") {
		return false
	}
	n, err := strconv.Atoi(minor)
	return err == nil && n > 7
}

// setDefault sets the default, which the distribution may have changed.
func (p *Param) setDefault(upstream string) {
	p.Default, p.upstream = upstream, upstream
	if def, ok := flavor.Postfix(p.Name); ok {
		p.Default = def
	}
}

// parseLimits reads "-", "nonempty", "len>=2" or "MIN..MAX".
func parseLimits(s string) Limits {
	var l Limits
	if n, ok := strings.CutPrefix(s, "len>="); ok {
		l.MinLen, _ = strconv.Atoi(n)
		l.Nonempty = true
		return l
	}
	l.Nonempty = s == "nonempty"
	if l.Nonempty {
		l.MinLen = 1
	}
	if low, high, ok := strings.Cut(s, ".."); ok {
		if low != "" {
			l.setMin(low)
		}
		if high != "" {
			l.setMax(high)
		}
	}
	return l
}

func (l *Limits) setMin(s string) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		l.Min, l.HasMin = n, true
	}
}

func (l *Limits) setMax(s string) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		l.Max, l.HasMax = n, true
	}
}

// Lookup returns the parameter with a name, or nil.
func Lookup(name string) *Param { return catalogParams()[name] }

// Params returns every known parameter, sorted by name. They must not be changed.
func Params() []*Param {
	schema() // knows who uses what
	all := make([]*Param, 0, len(catalogParams()))
	for _, p := range catalogParams() {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Param) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Names returns the names of all known parameters, in no order.
func Names() iter.Seq[string] { return maps.Keys(catalogParams()) }

package postfix

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
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
	Default   string // as it would be written in main.cf
	Computed  bool   // the default is made at run time
	ReadOnly  bool   // set by the program, not by main.cf
	Legacy    bool   // an old name, used in the default of the new one
	Since     string // first version of Postfix that has it
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

// readCatalog reads the embedded table of all parameters of Postfix.
func readCatalog() map[string]*Param {
	params := make(map[string]*Param, 1100)
	for row := range strings.Lines(catalog) {
		if row[0] == '#' {
			continue
		}
		col := strings.SplitN(strings.TrimSuffix(row, "\n"), "\t", 8)
		flags := strings.Split(col[4], ",")
		params[col[0]] = &Param{
			Name:     col[0],
			Kind:     kindNames[col[1]],
			Limits:   parseLimits(col[2]),
			Default:  col[3],
			Computed: slices.Contains(flags, "computed"),
			ReadOnly: slices.Contains(flags, "readonly"),
			Legacy:   slices.Contains(flags, "legacy"),
			Since:    col[5],
			Programs: strings.Split(col[6], ","),
			Doc:      col[7],
		}
	}
	return params
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
		l.setMin(low)
		l.setMax(high)
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

// Params returns every known parameter, sorted by name. They must not be changed.
func Params() []*Param {
	all := make([]*Param, 0, len(schema().params))
	for _, p := range schema().params {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Param) int { return strings.Compare(a.Name, b.Name) })
	return all
}

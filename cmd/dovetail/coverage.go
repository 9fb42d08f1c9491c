package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// coverage is "dovetail coverage": it writes docs/coverage.md, or with the
// argument dovecot or postfix the reference of settings in docs/settings. Both come
// from the registry that the parsers use.
func coverage(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	w := bufio.NewWriter(stdout)
	switch strings.Join(args, " ") {
	case "":
		writeCoverage(w)
	case "dovecot":
		writeReference(w, "dovecot.conf", dovecotSettings())
	case "postfix":
		writeReference(w, "main.cf", postfixSettings())
	default:
		fmt.Fprintln(stderr, "usage: dovetail coverage [dovecot | postfix]")
		return 64
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintf(stderr, "dovetail coverage: %v\n", err)
		return 1
	}
	return 0
}

// An entry is what the documents say of one setting.
type entry struct {
	name     string
	kind     string // type, with limits or words
	def      string
	computed bool              // the default is found out at run time
	others   map[string]string // defaults by flavor, where they differ
	applies  string            // where it may be set, or what reads it
	status   string
	why      string // unless it is supported
	doc      string
}

func dovecotSettings() []entry {
	var all []entry
	for _, s := range dovecot.Settings() {
		status, why := s.Coverage()
		all = append(all, entry{
			name: s.Path, kind: dovecotType(s), def: s.Default, others: otherDefaults("dovecot", s.Path),
			applies: dovecotScope(s), status: string(status), why: why, doc: s.Doc,
		})
	}
	return all
}

func postfixSettings() []entry {
	var all []entry
	for _, p := range postfix.Params() {
		status, why := p.Coverage()
		all = append(all, entry{
			name: p.Name, kind: postfixType(p), def: p.Default, computed: p.Computed, others: otherDefaults("postfix", p.Name),
			applies: readBy(p), status: string(status), why: why, doc: p.Doc,
		})
	}
	return all
}

// otherDefaults are those of the flavors for which this program is not built.
func otherDefaults(program, name string) map[string]string {
	others := map[string]string{}
	for _, f := range flavor.Names() {
		if def, ok := flavor.In(f, program, name); ok && f != flavor.Name {
			others[f] = def
		}
	}
	return others
}

var dovecotKinds = map[dovecot.Kind]string{
	dovecot.KindString: "text", dovecot.KindVars: "text with %variables", dovecot.KindPath: "path", dovecot.KindBool: "yes or no",
	dovecot.KindUint: "number", dovecot.KindOctal: "file mode", dovecot.KindTime: "time", dovecot.KindMsecs: "time in milliseconds",
	dovecot.KindSize: "size", dovecot.KindPort: "port", dovecot.KindStrMap: "section of any names", dovecot.KindList: "section",
}

func dovecotType(s *dovecot.Setting) string {
	if s.Kind == dovecot.KindEnum {
		return strings.Join(s.Enum, " | ")
	}
	return dovecotKinds[s.Kind]
}

// dovecotScope says in which filters a setting may differ.
func dovecotScope(s *dovecot.Setting) string {
	var filters []string
	for _, f := range []struct {
		scope dovecot.Scope
		name  string
	}{
		{dovecot.ScopeProtocol, "protocol"},
		{dovecot.ScopeLocal, "local"},
		{dovecot.ScopeRemote, "remote"},
		{dovecot.ScopeLocalName, "local_name"},
	} {
		if s.Scope&f.scope != 0 {
			filters = append(filters, f.name)
		}
	}
	if filters == nil {
		return "The same for all sessions"
	}
	return "May differ by " + strings.Join(filters, ", ")
}

var postfixKinds = map[postfix.Kind]string{
	postfix.KindString: "text", postfix.KindRaw: "text without $name", postfix.KindBool: "yes or no",
	postfix.KindInt: "number", postfix.KindSize: "size", postfix.KindTime: "time",
}

func postfixType(p *postfix.Param) string {
	kind := postfixKinds[p.Kind]
	switch l := p.Limits; {
	case l.HasMin && l.HasMax:
		return fmt.Sprintf("%s, %d to %d", kind, l.Min, l.Max)
	case l.HasMin:
		return fmt.Sprintf("%s, at least %d", kind, l.Min)
	case l.HasMax:
		return fmt.Sprintf("%s, at most %d", kind, l.Max)
	case l.MinLen > 1:
		return kind + ", at least " + strconv.Itoa(l.MinLen) + " characters"
	case l.Nonempty:
		return kind + ", not empty"
	}
	return kind
}

func readBy(p *postfix.Param) string {
	s := "Read by " + strings.Join(p.Programs, ", ")
	if slices.Contains(p.Programs, "all") {
		s = "Read by all programs"
	}
	if p.Since != "" && p.Since != "-" && !strings.HasPrefix(p.Since, "1.1") {
		s += "; since Postfix " + p.Since
	}
	return s
}

// defaults are the default, and those of other flavors.
func (e entry) defaults() string {
	if e.computed {
		return "found out at run time"
	}
	all := []string{quote(e.def)}
	for _, f := range flavor.Names() {
		if def, ok := e.others[f]; ok {
			all = append(all, f+": "+quote(def))
		}
	}
	if len(all) == 1 && e.def == "" {
		return ""
	}
	return strings.Join(all, "; ")
}

// effect is what becomes of the setting, with the reason if that is not plain.
func (e entry) effect() string {
	if e.why == "" || e.why == "it is not supported" {
		return e.status
	}
	return e.status + ": " + e.why
}

func quote(def string) string {
	if def == "" {
		return "empty"
	}
	return "`" + def + "`"
}

func writeCoverage(w io.Writer) {
	fmt.Fprint(w, "# Coverage\n\nGenerated by `make docs`. For every setting of the originals: whether it is supported here, has no effect (reported\n"+
		"at start when it is set), or is refused because ignoring it would weaken security. Defaults are those of\n"+
		"upstream; where a package of "+strings.Join(flavor.Names()[1:], " or ")+" has another, `make FLAVOR=` builds with it. More about each setting:\n"+
		"[dovecot.conf](settings/dovecot.md), [main.cf](settings/postfix.md).\n")
	writeTable(w, "dovecot.conf", dovecotSettings())
	writeTable(w, "main.cf", postfixSettings())
}

// cell makes text fit into a cell of a table.
var cell = strings.NewReplacer("|", "\\|", "\n", " ").Replace

func writeTable(w io.Writer, title string, all []entry) {
	fmt.Fprintf(w, "\n## %s\n\n%s.\n\n| Setting | Type | Default | Effect | What it does |\n|---|---|---|---|---|\n", title, count(all))
	for _, e := range all {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", cell(e.name), cell(e.kind), cell(e.defaults()), cell(e.effect()), cell(e.doc))
	}
}

func count(all []entry) string {
	n := make(map[string]int)
	for _, e := range all {
		n[e.status]++
	}
	return fmt.Sprintf("%d settings: %d supported, %d without effect, %d refused", len(all), n["supported"], n["no effect"], n["refused"])
}

// writeReference writes a paragraph for each setting. Those of a section stand
// under its name.
func writeReference(w io.Writer, file string, all []entry) {
	fmt.Fprintf(w, "# Settings of %s\n\nGenerated by `make docs` from what the program knows. %s.\n", file, count(all))
	section := ""
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(sectionOf(a.name), sectionOf(b.name)) })
	for _, e := range all {
		if s := sectionOf(e.name); s != section {
			section = s
			fmt.Fprintf(w, "\n## %s { }\n", strings.ReplaceAll(s, "/", " { "))
		}
		fmt.Fprintf(w, "\n### %s\n\n", e.name)
		if e.doc != "" {
			fmt.Fprintf(w, "%s.\n\n", strings.TrimSuffix(strings.ToUpper(e.doc[:1])+e.doc[1:], "."))
		}
		fmt.Fprintf(w, "- Type: %s\n", e.kind)
		if def := e.defaults(); def != "" {
			fmt.Fprintf(w, "- Default: %s\n", def)
		}
		fmt.Fprintf(w, "- %s\n- Effect: %s\n", e.applies, e.effect())
	}
}

// sectionOf is the path of the section that a setting is in.
func sectionOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

package main

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/flavor"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// rowsOf reads rows of columns from testdata.
func rowsOf(t *testing.T, name string) [][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		if line[0] != '#' {
			rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
		}
	}
	return rows
}

// dovecotKind is the kind of setting by the name that the list has for it.
var dovecotKind = map[string]dovecot.Kind{
	"str": dovecot.KindString, "int": dovecot.KindString, "str_vars": dovecot.KindVars, "path": dovecot.KindPath, "bool": dovecot.KindBool,
	"uint": dovecot.KindUint, "octal": dovecot.KindOctal, "time": dovecot.KindTime, "msecs": dovecot.KindMsecs, "size": dovecot.KindSize,
	"port": dovecot.KindPort, "enum": dovecot.KindEnum, "section": dovecot.KindList, "list": dovecot.KindStrMap,
}

func TestEveryDovecotSettingIsKnown(t *testing.T) {
	known := map[string]*dovecot.Setting{}
	for _, s := range dovecot.Settings() {
		known[s.Path] = s
	}
	for _, row := range rowsOf(t, "dovecot-settings.tsv") {
		path, def := row[0], row[2]
		kind, words, _ := strings.Cut(strings.TrimSuffix(row[1], ")"), "(")
		if kind == "obsolete" || kind == "alias" {
			if err := parseDovecot(path); err != nil && strings.Contains(err.Error(), "Unknown setting") {
				t.Errorf("%s: %v", path, err)
			}
			continue
		}
		s := known[path]
		switch {
		case s == nil:
			t.Errorf("%s is not known", path)
		case s.Kind != dovecotKind[kind]:
			t.Errorf("%s has another type than %s", path, kind)
		case kind == "enum" && strings.Join(s.Enum, "|") != words:
			t.Errorf("%s: the words are %q, should be %q", path, s.Enum, words)
		case s.Default != def:
			t.Errorf("%s: the default is %q, should be %q", path, s.Default, def)
		}
	}
}

// parseDovecot reads a configuration that sets one setting, in its section.
func parseDovecot(path string) error {
	parts := strings.Split(strings.ReplaceAll(path, "*", "min_size"), "/")
	text := parts[len(parts)-1] + " = 1\n"
	for _, section := range parts[:len(parts)-1] {
		if section == "namespace" {
			section += " inbox"
		}
		text = section + " {\n" + text + "}\n"
	}
	_, err := dovecot.Parse("dovecot.conf", text)
	return err
}

var postfixKind = map[string]postfix.Kind{
	"str": postfix.KindString, "raw": postfix.KindRaw, "bool": postfix.KindBool, "int": postfix.KindInt, "size": postfix.KindSize, "time": postfix.KindTime,
}

// safer are parameters whose defaults are those of later versions.
var safer = map[string]string{"smtpd_forbid_bare_newline": "normalize"}

func TestEveryPostfixParameterIsKnown(t *testing.T) {
	known := map[string]*postfix.Param{}
	for _, p := range postfix.Params() {
		known[p.Name] = p
	}
	for _, row := range rowsOf(t, "postfix-parameters.tsv") {
		name, def := row[0], row[3]
		p := known[name]
		if p == nil {
			t.Errorf("%s is not known", name)
			continue
		}
		got := p.Default
		if d, ok := flavor.In("debian", "postfix", name); ok {
			got = d
		}
		if d, ok := safer[name]; ok {
			def = d
		}
		switch {
		case p.Kind != postfixKind[row[1]]:
			t.Errorf("%s has another type than %s", name, row[1])
		case limits(p) != row[2]:
			t.Errorf("%s: the limits are %q, should be %q", name, limits(p), row[2])
		case got != def && def != "":
			t.Errorf("%s: the default is %q, should be %q", name, got, def)
		}
	}
}

// limits are those of a parameter as the list writes them.
func limits(p *postfix.Param) string {
	low, high := "", ""
	l := p.Limits
	if l.HasMin {
		low = strconv.FormatInt(l.Min, 10)
	}
	if l.HasMax {
		high = strconv.FormatInt(l.Max, 10)
	}
	switch {
	case low+high != "":
		return low + ".." + high
	case l.MinLen > 1:
		return "len>=" + strconv.Itoa(l.MinLen)
	case l.Nonempty:
		return "nonempty"
	}
	return ""
}

package db

import (
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// ldapAttrs is pass_attrs, user_attrs or iterate_attrs: which attributes to
// fetch, and which fields they become.
//
//	attr=field            the value
//	attr=field=TEMPLATE   %$ is the value; a text without % is put before it
//	=field=TEMPLATE       from variables only, %{ldap:attr} among them
//	attr                  attr=attr
//	!attr                 only for %{ldap:attr}
//	@NAME=TEMPLATE        a DN: the attributes attr@NAME are those of that object
type ldapAttrs struct {
	items   []ldapItem
	objects []ldapObject
}

// An ldapItem is one field.
type ldapItem struct {
	attr        string // "" for none
	object      string // NAME of attr@NAME; "" for the entry that was found
	field       string
	template    string
	hasTemplate bool
}

// An ldapObject is one @NAME.
type ldapObject struct {
	name, template string
	attrs          []string // of it that are used
}

// parseLDAPAttrs reads a list. A field named skip is left out.
func parseLDAPAttrs(list, skip string) *ldapAttrs {
	a := new(ldapAttrs)
	for _, text := range splitOutsideBraces(list, ',') {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(text, "!"); ok {
			attr, object, _ := strings.Cut(rest, "@")
			a.items = append(a.items, ldapItem{attr: attr, object: object})
			continue
		}
		words := splitOutsideBraces(text, '=')
		if name, ok := strings.CutPrefix(words[0], "@"); ok {
			a.objects = append(a.objects, ldapObject{name: name, template: strings.Join(words[1:], "=")})
			continue
		}
		item := ldapItem{field: words[0]}
		item.attr, item.object, _ = strings.Cut(words[0], "@")
		if len(words) > 1 {
			item.field = words[1]
		} else {
			item.field = item.attr
		}
		if len(words) > 2 {
			item.template, item.hasTemplate = strings.Join(words[2:], "="), true
			if !strings.Contains(item.template, "%") {
				item.template += "%$"
			}
		}
		if item.field != "" && item.field != skip {
			a.items = append(a.items, item)
		}
	}
	for i := range a.objects {
		a.objects[i].attrs = a.attrsOf(a.objects[i].name)
	}
	return a
}

// splitOutsideBraces splits at sep where it is not within %{...}.
func splitOutsideBraces(s string, sep byte) []string {
	var list []string
	depth, start := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '{' && i > 0 && (s[i-1] == '%' || depth > 0):
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == sep && depth == 0:
			list = append(list, s[start:i])
			start = i + 1
		}
	}
	return append(list, s[start:])
}

// attrsOf returns the attributes of an object that are needed; "" is the entry
// that is searched for. Nil for all.
func (a *ldapAttrs) attrsOf(object string) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			names = append(names, name)
		}
	}
	for _, item := range a.items {
		if item.object == object {
			add(item.attr)
		}
		for _, text := range [...]string{item.template, item.field} {
			for _, ref := range ldapRefs(text) {
				if ref.object == object {
					add(ref.attr)
				}
			}
		}
	}
	for _, o := range a.objects {
		for _, ref := range ldapRefs(o.template) {
			if ref.object == object {
				add(ref.attr)
			}
		}
	}
	if len(names) == 0 && len(a.items)+len(a.objects) > 0 {
		return []string{"1.1"} // none (RFC 4511 4.5.1.8)
	}
	return names
}

// ldapRefs finds the %{ldap:attr} in a template.
func ldapRefs(template string) []ldapItem {
	var refs []ldapItem
	for rest := template; ; {
		_, after, ok := strings.Cut(rest, "ldap:")
		if !ok {
			return refs
		}
		name := after[:strings.IndexAny(after+"}", ":};,")]
		attr, object, _ := strings.Cut(name, "@")
		refs = append(refs, ldapItem{attr: attr, object: object})
		rest = after
	}
}

// ldapValues returns the values of an attribute, whatever the case of its name.
func ldapValues(e *ldap.Entry, name string) []string {
	if e == nil {
		return nil
	}
	return e.GetEqualFoldAttributeValues(name)
}

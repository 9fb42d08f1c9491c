package table

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// proxySettings are proxymap's.
type proxySettings struct {
	ProxyReadMaps string `set:"proxy_read_maps" nonempty:"yes" doc:"tables that proxy: may open"`
}

var _ = postfix.Register("table", proxySettings{})

// openProxy opens the table behind "proxy:type:name". Postfix lends its chrooted processes tables
// that way; here no table is out of reach. What is lent has to be listed all the same.
func openProxy(_, name string, o *Options) (Table, error) {
	if o.Main != nil {
		if err := approved(name, o); err != nil {
			return nil, err
		}
	}
	inner := *o
	inner.UTF8, inner.Files = false, false // what is around the proxy table sees to it
	t, err := Open(name, inner)
	return t, err
}

// approved reports an error if proxy_read_maps does not list a table.
func approved(spec string, o *Options) error {
	set, err := postfix.Get[proxySettings](o.Main)
	if err != nil {
		return err
	}
	for strings.HasPrefix(spec, "proxy:") {
		spec = spec[len("proxy:"):]
	}
	if slices.Contains(postfix.SplitList(set.ProxyReadMaps), "proxy:"+spec) {
		return nil
	}
	o.warnf("request for unapproved table: \"%s\"", spec)
	o.warnf("to approve this table for read-only access, list proxy:%s in main.cf:proxy_read_maps", spec)
	return fmt.Errorf("proxymap service is not configured for table \"%s\"", spec)
}

// debugTable logs each lookup in another table.
type debugTable struct {
	Table
	spec string
	o    Options
}

func openDebug(spec, name string, o *Options) (Table, error) {
	inner, err := Open(name, *o)
	if err != nil {
		return nil, err
	}
	return likeFirst(&debugTable{inner, spec, *o}, inner), nil
}

// Lookup implements [Table].
func (t *debugTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	value, found, err := t.Table.Lookup(ctx, key)
	result := "\"" + value + "\""
	switch {
	case err != nil:
		result = "error"
	case !found:
		result = "not_found"
	}
	t.o.Log.Infof("%s lookup: \"%s\" = %s", t.spec, key, result)
	return value, found, err
}

// Walk implements [Walker].
func (t *debugTable) Walk(fn func(key, value string) error) error {
	return Walk(t.Table, func(key, value string) error {
		t.o.Log.Infof("%s sequence: \"%s\" = \"%s\"", t.spec, key, value)
		return fn(key, value)
	})
}

// Close implements [Closer].
func (t *debugTable) Close() error { Close(t.Table); return nil }

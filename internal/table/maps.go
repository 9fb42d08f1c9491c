package table

import (
	"context"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Maps is the value of a *_maps parameter: tables asked in order. The first
// that finds the key wins; one that fails ends the search, since what the
// later ones say might be wrong. A nil *Maps is empty.
type Maps struct {
	param  string
	specs  []string
	tables []Table
	log    *maillog.Logger
}

// errEmptyResult is an empty value, which is never a valid answer.
var errEmptyResult = errors.New("table lookup returned an empty string result")

// OpenMaps opens the tables that the value of param lists.
func OpenMaps(param, value string, o Options) *Maps {
	m := &Maps{param: param, specs: postfix.SplitList(value), log: o.Log}
	for _, spec := range m.specs {
		m.tables = append(m.tables, OpenOrFail(spec, o))
	}
	return m
}

// Empty reports whether there is no table.
func (m *Maps) Empty() bool { return m == nil || len(m.tables) == 0 }

// Lookup asks all tables for a whole key.
func (m *Maps) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	return m.lookup(ctx, key, func(Table) bool { return true })
}

// LookupPartial asks the tables of fixed keys for a part of a key.
func (m *Maps) LookupPartial(ctx context.Context, key string) (value string, found bool, err error) {
	return m.lookup(ctx, key, func(t Table) bool {
		_, pattern := t.(Pattern)
		return !pattern
	})
}

func (m *Maps) lookup(ctx context.Context, key string, wanted func(Table) bool) (string, bool, error) {
	if m == nil || key == "" {
		return "", false, nil
	}
	for i, t := range m.tables {
		if !wanted(t) {
			continue
		}
		value, found, err := t.Lookup(ctx, key)
		if err != nil {
			m.log.Warningf("%s lookup error for %q", m.specs[i], key)
			return "", false, fmt.Errorf("%s: %s: %w", m.param, m.specs[i], err)
		}
		if found && value == "" {
			m.log.Warningf("%s lookup of %s returns an empty string result", m.param, key)
			m.log.Warningf("%s should return NO RESULT in case of NOT FOUND", m.param)
			return "", false, fmt.Errorf("%s: %s: %w", m.param, m.specs[i], errEmptyResult)
		}
		if found {
			return value, true, nil
		}
	}
	return "", false, nil
}

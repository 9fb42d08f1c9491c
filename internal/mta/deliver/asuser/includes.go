package asuser

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/aliases"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// includes knows which :include: files root reads: those of root's alias databases,
// and of files that those include.
type includes struct {
	maps []resolve.Maps
}

// newIncludes opens the alias databases that are root's.
func newIncludes(main *postfix.Main, set *Settings, log *maillog.Logger) (*includes, error) {
	open, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		return nil, err
	}
	in := new(includes)
	for _, spec := range postfix.SplitList(set.AliasMaps) {
		if o, err := aliases.OwnerOf(spec, nil); err != nil || !o.Known || o.UID != 0 {
			continue
		}
		m, err := open.OpenMaps("alias_maps", spec)
		if err != nil {
			return nil, err
		}
		in.maps = append(in.maps, m)
	}
	return in, nil
}

// maxVia bounds how deep files include each other.
const maxVia = 100

// maxInclude bounds a file that is searched for another's name.
const maxInclude = 64 << 20

var errNotIncluded = errors.New("no alias database of root's names it")

// check sees to it that path may be read as root: via is the alias that led to it,
// then the files in between.
func (in *includes) check(ctx context.Context, via []string, path string) error {
	if len(via) == 0 || len(via) > maxVia {
		return errNotIncluded
	}
	text, err := in.alias(ctx, via[0])
	if err != nil {
		return err
	}
	for _, file := range via[1:] {
		if !includesFile(text, file) {
			return errNotIncluded
		}
		if text, err = readInclude(file); err != nil {
			return err
		}
	}
	if !includesFile(text, path) {
		return errNotIncluded
	}
	return nil
}

func (in *includes) alias(ctx context.Context, name string) (string, error) {
	for _, m := range in.maps {
		value, found, err := m.Lookup(ctx, name)
		if err != nil {
			return "", err
		}
		if found {
			return value, nil
		}
	}
	return "", errNotIncluded
}

const includePrefix = ":include:"

// includesFile reports whether a list of destinations has an :include: of the file.
func includesFile(text, file string) bool {
	return slices.ContainsFunc(aliases.Parse(text), func(d string) bool {
		return len(d) > len(includePrefix) && strings.EqualFold(d[:len(includePrefix)], includePrefix) && d[len(includePrefix):] == file
	})
}

func readInclude(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Mode()&0o002 != 0 {
		return "", fmt.Errorf("%s: not a regular file, or writable for everybody", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxInclude))
	return string(text), err
}

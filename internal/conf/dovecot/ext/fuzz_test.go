package ext

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// FuzzRead reads arbitrary text as each kind of file. Included files are the text itself.
func FuzzRead(f *testing.F) {
	for _, list := range [][]string{values, mistakes, dictionaries["sqlite"], dictionaries["ldap"]} {
		for _, text := range list {
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range []any{&LDAP{}, &SQL{}, &OAuth2{}, &Dict{}, &DictSQL{}, &DictLDAP{}} {
			files := 0
			r := &reader{
				warn: func(string) {},
				glob: func(pattern string) []string { return []string{pattern} },
				open: func(string) (io.ReadCloser, error) {
					if files++; files > 5 {
						return nil, errors.New("enough")
					}
					return io.NopCloser(strings.NewReader(text)), nil
				},
			}
			if err := r.push("main"); err != nil {
				t.Fatal(err)
			}
			err := decode(r, v)
			var located *dovecot.Error
			if err != nil && !errors.As(err, &located) {
				t.Errorf("%T: the error has no place: %v", v, err)
			}
			if len(r.files) > 0 {
				t.Errorf("%T: %d files are still open", v, len(r.files))
			}
		}
	})
}

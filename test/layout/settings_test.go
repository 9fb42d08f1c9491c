package layout

import (
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	_ "github.com/dovetail-mail/dovetail/internal/mda/service"
	_ "github.com/dovetail-mail/dovetail/internal/mta"
)

// Settings that packages declare are those of the originals: same type, same
// default, and the same in every package that looks at one.
func TestDeclaredSettingsAreTheOriginals(t *testing.T) {
	for _, d := range append(dovecot.Discrepancies(), postfix.Discrepancies()...) {
		t.Error(d)
	}
}

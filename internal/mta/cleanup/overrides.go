package cleanup

import (
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Overrides is receive_override_options of postconf(5): what is not done to the mail that
// one service takes, because it has been done, or will be, on the other side of a content filter.
type Overrides uint8

// The options. The first is smtpd's own business; the others reach [Origin].
const (
	NoUnknownRecipientChecks Overrides = 1 << iota
	NoAddressMappings
	NoHeaderBodyChecks
	NoMilters
)

var overrideNames = map[string]Overrides{
	"no_unknown_recipient_checks": NoUnknownRecipientChecks, "no_address_mappings": NoAddressMappings,
	"no_header_body_checks": NoHeaderBodyChecks, "no_milters": NoMilters,
}

// ParseOverrides reads the setting's value. An unknown word is an error, as it is Postfix's daemons' end.
func ParseOverrides(list string) (Overrides, error) {
	var set Overrides
	for _, word := range postfix.SplitList(list) {
		o, ok := overrideNames[word]
		if !ok {
			return 0, fmt.Errorf("unknown receive_override_options value %q in %q", word, list)
		}
		set |= o
	}
	return set, nil
}

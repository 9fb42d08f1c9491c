package cleanup

import "testing"

// Every option alone and together; a word that Postfix does not know is its daemons' end.
func TestParseOverrides(t *testing.T) {
	for list, want := range map[string]Overrides{
		"": 0, "no_unknown_recipient_checks": NoUnknownRecipientChecks, "no_address_mappings": NoAddressMappings,
		"no_header_body_checks,no_milters": NoHeaderBodyChecks | NoMilters, " no_milters\tno_milters ": NoMilters,
	} {
		if got, err := ParseOverrides(list); got != want || err != nil {
			t.Errorf("%q: %b, %v, want %b", list, got, err, want)
		}
	}
	const want = `unknown receive_override_options value "no_checks" in "no_milters, no_checks"`
	if _, err := ParseOverrides("no_milters, no_checks"); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

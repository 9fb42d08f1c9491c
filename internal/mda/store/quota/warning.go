package quota

import (
	"fmt"
	"strings"
)

// A Warning is a command that is run when a limit is exceeded, or no more so.
type Warning struct {
	Command string
	below   bool // when usage falls below
	amounts
}

// addWarning reads a setting.
func (r *Root) addWarning(text string) error {
	invalid := fmt.Errorf("Invalid warning rule: %s", text)
	def, command, _ := strings.Cut(text, " ")
	if command == "" {
		return invalid
	}
	w := Warning{Command: command}
	if rest, ok := strings.CutPrefix(def, "-"); ok {
		w.below, def = true, rest
	} else {
		def = strings.TrimPrefix(def, "+")
	}
	if w.parse(def, false, true, nil) != nil {
		return invalid
	}
	r.warnings = append(r.warnings, w)
	return nil
}

// Warns reports whether there are warnings.
func (r *Root) Warns() bool { return len(r.warnings) > 0 }

// Warning returns the one that a change of usage calls for: the first that matches, or nil. base are the limits of
// all mailboxes.
func (r *Root) Warning(before, after Usage, base Limit) *Warning {
	for i := range r.warnings {
		w := &r.warnings[i]
		from, to := before, after
		if w.below {
			from, to = to, from
		}
		at := w.of(base)
		if from.Bytes < at.Bytes && to.Bytes >= at.Bytes || from.Messages < at.Messages && to.Messages >= at.Messages {
			return w
		}
	}
	return nil
}

package postmaster

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Class is a set of the kinds of errors that notify_classes names.
type Class uint8

// The kinds of errors (postconf(5), notify_classes).
const (
	Bounce Class = 1 << iota
	DoubleBounce
	Delay
	Data
	Policy
	Protocol
	Resource
	Software
)

var classes = map[string]Class{
	"bounce": Bounce, "2bounce": DoubleBounce, "delay": Delay, "data": Data,
	"policy": Policy, "protocol": Protocol, "resource": Resource, "software": Software,
}

// parseClasses reads notify_classes.
func parseClasses(list string) (Class, error) {
	var set Class
	for _, word := range postfix.SplitList(list) {
		class := classes[strings.ToLower(word)]
		if class == 0 {
			return 0, fmt.Errorf("unknown notify_classes value %q in %q", word, list)
		}
		set |= class
	}
	return set, nil
}

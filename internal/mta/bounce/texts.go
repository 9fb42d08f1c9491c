package bounce

import "github.com/dovetail-mail/dovetail/internal/conf/bouncetemplate"

// The texts for people, as `postconf -t ”` shows them (bounce(5)).
var (
	failureText = bouncetemplate.Builtin().Failure.Text
	delayText   = bouncetemplate.Builtin().Delay.Text
	successText = bouncetemplate.Builtin().Success.Text
)

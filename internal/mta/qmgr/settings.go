package qmgr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of the scheduler as a whole.
type Settings struct {
	QueueRunDelay   time.Duration `set:"queue_run_delay" default:"300s" unit:"s" min:"1" doc:"time between scans of the deferred queue"`
	MinBackoff      time.Duration `set:"minimal_backoff_time" default:"300s" unit:"s" min:"1" doc:"shortest time between delivery attempts; time that a dead destination is left alone"`
	MaxBackoff      time.Duration `set:"maximal_backoff_time" default:"4000s" unit:"s" min:"1" doc:"longest time between delivery attempts"`
	Lifetime        time.Duration `set:"maximal_queue_lifetime" default:"5d" unit:"d" max:"8640000" doc:"age at which undelivered mail is returned"`
	BounceLifetime  time.Duration `set:"bounce_queue_lifetime" default:"5d" unit:"d" max:"8640000" doc:"age at which undelivered mail with the null sender is dropped"`
	DelayWarning    time.Duration `set:"delay_warning_time" default:"0h" unit:"h" doc:"age at which a sender is told that mail is delayed; 0 for never"`
	ActiveLimit     int           `set:"qmgr_message_active_limit" default:"20000" min:"1" doc:"messages being delivered at once"`
	ClogWarn        time.Duration `set:"qmgr_clog_warn_time" default:"300s" unit:"s" min:"0" doc:"time between warnings of a destination that fills the active queue; 0 for none"`
	HelpfulWarnings bool          `set:"helpful_warnings" default:"yes" doc:"warn about problems in the configuration"`
	DeferTransport  string        `set:"defer_transports" doc:"transports whose mail waits for a flush"`
	FilterNexthop   string        `set:"default_filter_nexthop" doc:"next hop of a content_filter that names none; empty for the recipient's domain"`
	TransportRetry  time.Duration `set:"transport_retry_time" default:"60s" unit:"s" min:"1" doc:"how long a delivery agent that failed is left alone"`
	DaemonTimeout   time.Duration `set:"daemon_timeout" default:"18000s" unit:"s" min:"1" doc:"how long one delivery may take"`
	InFlowDelay     time.Duration `set:"in_flow_delay" default:"1s" unit:"s" max:"10" doc:"pause before a new message is taken when more arrive than are delivered"`
	ConfirmDelay    bool          `set:"confirm_delay_cleared" default:"no" doc:"a sender who was warned of a delay is told of the delivery"`
	VERPFilter      string        `set:"verp_delimiter_filter" default:"-=+" nonempty:"yes" doc:"characters that may be VERP delimiters"`
	NoVERPBounces   bool          `set:"disable_verp_bounces" default:"no" doc:"failures of VERP mail are told in one notification to its sender"`
	NegativeCache   bool          `set:"address_verify_negative_cache" default:"yes" doc:"failed probes are remembered"`
	PendingProbes   int           `set:"address_verify_pending_request_limit" default:"5000" min:"1" doc:"address probes under way at once"`
	NotifyClasses   string        `set:"notify_classes" default:"resource, software" doc:"what the postmaster is told of"`
	DelayDigits     int           `set:"delay_logging_resolution_limit" default:"2" min:"0" max:"6" doc:"digits after the decimal point of delays in the log"`
}

var _ = postfix.Register("qmgr", Settings{})

// Each transport may have its own of these.
var _ = postfix.RegisterNames("qmgr",
	"initial_destination_concurrency", "default_destination_concurrency_limit", "default_destination_recipient_limit",
	"default_destination_concurrency_failed_cohort_limit", "default_destination_concurrency_positive_feedback",
	"default_destination_concurrency_negative_feedback", "default_destination_rate_delay", "default_transport_rate_delay")

// limits are the parameters that each transport may have its own of.
type limits struct {
	initial      int // initial_destination_concurrency
	concurrency  int // destination_concurrency_limit; 0 is none
	recipients   int // destination_recipient_limit; 0 is none
	cohorts      int // destination_concurrency_failed_cohort_limit; 0 is never dead
	up, down     feedback
	destinations time.Duration // destination_rate_delay
	transport    time.Duration // transport_rate_delay
}

// transportLimits reads the parameters of one transport.
func transportLimits(main *postfix.Main, name string) (limits, error) {
	r := reader{main: main, transport: name}
	l := limits{
		initial:      r.number("%s_initial_destination_concurrency", "initial_destination_concurrency"),
		concurrency:  r.number("%s_destination_concurrency_limit", "default_destination_concurrency_limit"),
		recipients:   r.number("%s_destination_recipient_limit", "default_destination_recipient_limit"),
		cohorts:      r.number("%s_destination_concurrency_failed_cohort_limit", "default_destination_concurrency_failed_cohort_limit"),
		up:           r.feedback("%s_destination_concurrency_positive_feedback", "default_destination_concurrency_positive_feedback"),
		down:         r.feedback("%s_destination_concurrency_negative_feedback", "default_destination_concurrency_negative_feedback"),
		destinations: r.time("%s_destination_rate_delay", "default_destination_rate_delay"),
		transport:    r.time("%s_transport_rate_delay", "default_transport_rate_delay"),
	}
	l.initial = max(l.initial, 1)
	if l.destinations > 0 {
		l.concurrency = 1
	}
	if l.concurrency > 0 {
		l.initial = min(l.initial, l.concurrency)
	}
	return l, r.err
}

// A reader reads parameters by name. Its first error sticks.
type reader struct {
	main      *postfix.Main
	transport string
	err       error
}

// text returns the transport's own value of a parameter, or the general one.
func (r *reader) text(own, general string) (name, value string) {
	for _, name := range []string{strings.Replace(own, "%s", r.transport, 1), general} {
		value, ok, err := r.main.Expand(name)
		if err != nil {
			r.fail(err)
			return name, ""
		}
		if ok && value != "" {
			return name, value
		}
	}
	r.fail(fmt.Errorf("parameter %s has no value", general))
	return general, ""
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) number(own, general string) int {
	name, value := r.text(own, general)
	if r.err != nil {
		return 0
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 {
		r.fail(fmt.Errorf("bad numerical configuration: %s = %s", name, value))
	}
	return n
}

func (r *reader) time(own, general string) time.Duration {
	name, value := r.text(own, general)
	if r.err != nil {
		return 0
	}
	d, ok := postfix.ParseTime(value, 's')
	if !ok {
		r.fail(fmt.Errorf("parameter %s: bad time value or unit: %s", name, value))
	}
	return d
}

func (r *reader) feedback(own, general string) feedback {
	name, value := r.text(own, general)
	if r.err != nil {
		return feedback{}
	}
	f, err := parseFeedback(value)
	if err != nil {
		r.fail(fmt.Errorf("%s: %w", name, err))
	}
	return f
}

// A feedback is how much one delivery changes a concurrency: a constant, or a
// part of the concurrency or its square root.
type feedback struct {
	value float64
	by    divisor
}

type divisor uint8

const (
	byOne divisor = iota
	byConcurrency
	bySquareRoot
)

// parseFeedback reads "number", "number/concurrency" or
// "number/sqrt_concurrency".
func parseFeedback(s string) (feedback, error) {
	num, den, slash := strings.Cut(s, "/")
	f := feedback{}
	var err error
	f.value, err = strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || f.value < 0 || f.value > 1 {
		return f, fmt.Errorf("invalid concurrency feedback value %q: a number from 0 to 1 is needed", s)
	}
	if !slash {
		return f, nil
	}
	switch strings.TrimSpace(den) {
	case "concurrency":
		f.by = byConcurrency
	case "sqrt_concurrency":
		f.by = bySquareRoot
	default:
		return f, fmt.Errorf("invalid concurrency feedback %q: concurrency or sqrt_concurrency is needed behind the slash", s)
	}
	return f, nil
}

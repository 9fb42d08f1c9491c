// Package bouncetemplate has the texts of delivery notifications: those built in, and
// those of a bounce_template_file (bounce(5)).
//
// A file holds templates, in any order:
//
//	failure_template = <<EOF
//	Charset: us-ascii
//	From: Mail Delivery System <MAILER-DAEMON>
//	Subject: Undelivered Mail Returned to Sender
//	Postmaster-Subject: Postmaster Copy: Undelivered Mail
//
//	This is the mail system at host $myhostname.
//	EOF
//
// The names are failure_template, delay_template, success_template and
// verify_template. Headers that are left out are the built-in ones; only failure and
// delay have a Postmaster-Subject. Blank lines and comments between templates are
// skipped. A template that is wrong is reported, and the built-in one used.
//
// In the text $name stands for a parameter of main.cf, and $delay_warning_time and
// $maximal_queue_lifetime with _seconds, _minutes, _hours, _days or _weeks for that many
// units, rounded down. Each template has its text as lines, and each line is
// expanded by itself.
package bouncetemplate

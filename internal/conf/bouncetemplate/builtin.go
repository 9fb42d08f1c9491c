package bouncetemplate

// The texts are those that `postconf -t ''` shows.

const failureText = `This is the mail system at host $myhostname.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system
`

const delayText = `This is the mail system at host $myhostname.

####################################################################
# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #
####################################################################

Your message could not be delivered for more than $delay_warning_time_hours hour(s).
It will be retried until it is $maximal_queue_lifetime_days day(s) old.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system
`

const successText = `This is the mail system at host $myhostname.

Your message was successfully delivered to the destination(s)
listed below. If the message was delivered to mailbox you will
receive no further notifications. Otherwise you may still receive
notifications of mail delivery errors from other systems.

                   The mail system
`

const verifyText = `This is the mail system at host $myhostname.

Enclosed is the mail delivery report that you requested.

                   The mail system
`

const (
	builtinOrigin = "[built-in]"
	sender        = "Mail Delivery System <MAILER-DAEMON>"
)

// Builtin returns the built-in templates.
func Builtin() *Set {
	return &Set{
		Failure: Template{
			Name: "failure", Origin: builtinOrigin, Charset: "us-ascii", From: sender, Text: failureText,
			Subject: "Undelivered Mail Returned to Sender", PostmasterSubject: "Postmaster Copy: Undelivered Mail",
		},
		Delay: Template{
			Name: "delay", Origin: builtinOrigin, Charset: "us-ascii", From: sender, Text: delayText,
			Subject: "Delayed Mail (still being retried)", PostmasterSubject: "Postmaster Warning: Delayed Mail",
		},
		Success: Template{
			Name: "success", Origin: builtinOrigin, Charset: "us-ascii", From: sender, Text: successText,
			Subject: "Successful Mail Delivery Report",
		},
		Verify: Template{
			Name: "verify", Origin: builtinOrigin, Charset: "us-ascii", From: sender, Text: verifyText,
			Subject: "Mail Delivery Status Report",
		},
	}
}

package imap

import "strings"

// strangeMail are messages as they should not be, but are.
var strangeMail = func() (mails []string) {
	for _, m := range []string{
		"Subject: abc\n\nhello\n",
		"\nno header\n",
		"no header at all",
		"Subject: only a header",
		"From: A <a@example.com>\nTo: bob@example.org, C <c@x>\nCc: x\nDate: Thu, 5 May 2005 10:00:00 +0200\nMessage-ID: <1@x>\nSubject: Re: abc\nReferences: <0@x>\n\nhello part\n",
		"From: \"Q \\\" uote\" <q@example.com> (comment)\nTo: group: a@b, c@d;, e@f\nSubject: =?utf-8?q?caf=C3=A9?= =?utf-8?b?w6k=?=\nMessage-ID: <2@x>\nIn-Reply-To: <1@x>\n\nx\n",
		"Content-Type: multipart/mixed; boundary=\"b b\"\n\npreamble\n--b b\n\npart one\n--b b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<p>gr=C3=BCn</p>=\n--b b--\nepilogue\n",
		"Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=xx\n\n--xx\n\ninner\n--xx--\n--x\nContent-Type: message/rfc822\n\nSubject: inner abc\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\ndeep\n--x--\n",
		"Content-Type: multipart/mixed\n\nno boundary\n",
		"Content-Type: multipart/mixed; boundary=none\n\nboundary that never comes\n",
		"Content-Type: multipart/mixed; boundary=a\n\n--a\n--a\n--a--\n--a\nafter the end\n",
		"Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: third\n\nbody\n",
		"Content-Type: text/plain; charset=\"iso-8859-1\"; name*0=long; name*1=er\nContent-Transfer-Encoding: 8bit\nContent-Disposition: attachment; filename=\"a\\\"b\"; size=5\nContent-Language: en, de\nContent-ID: <c@d>\nContent-Description: =?iso-8859-1?q?gr=FCn?=\nContent-MD5: abc\nContent-Location: http://x/\n\ngr\xfcn\n",
		"Content-Type: text/plain;;; charset=\nContent-Transfer-Encoding: base64\n\naGVsbG8gd29ybGQK\n!!!!\n",
		"Content-Type: /\nDate: yesterday\nFrom: <>\nTo: @\nSender: ,,,\nReply-To: a b c\n\nx\n",
		"Subject: folded\n\tover\n  lines\nsubject: twice\nX-Long: " + strings.Repeat("long ", 400) + "\nFrom: a@b\nFrom: c@d\n\nbody\n",
		"Subject : blank before the colon\nFrom:no-blank@example.com\nBad line without colon\nTo: bob\n\nbody\n",
		"From user@example.com Thu Jan  1 00:00:00 1970\nSubject: mbox line\n\nFrom here\n>From there\n",
		"Subject: abc\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: first of digest\nFrom: d@e\n\none\n--d\nContent-Type: text/plain\n\ntwo\n--d--\n",
		"Subject: \xff\xfe raw 8bit gr\xc3\xbcn\nFrom: \xe4 <a@b>\n\nbody gr\xc3\xbcn\n",
	} {
		mails = append(mails, strings.ReplaceAll(m, "\n", "\r\n"))
	}
	return append(mails, "Subject: bare LF\n\nline\nline\r\nmixed\n")
}()

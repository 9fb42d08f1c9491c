// Package postmaster tells the postmaster about sessions in which something went
// wrong: what was said, in one message to error_notice_recipient. Which errors are told
// of is notify_classes. The words are those of Postfix's smtpd(8) and smtp(8).
//
// A session keeps a [Transcript] of what both sides say. It is bounded, unlike
// Postfix's: of a long one the middle is left out. What a client proves its identity
// with is left out too, where Postfix mails passwords to the postmaster.
package postmaster

// Package smtpd shows that the SMTP server keeps the door as Postfix's smtpd does: both
// get the same configuration and the same clients, and must answer and log the same.
package smtpd

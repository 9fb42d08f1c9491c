package imapwire

import (
	"bytes"
	"time"
)

// ParseDateTime reads the date of APPEND: "17-Jul-1996 02:44:25 -0700", the day
// with one digit and a blank or without it.
func ParseDateTime(b []byte) (time.Time, bool) {
	b = bytes.TrimPrefix(b, []byte(" "))
	t, err := time.Parse("2-Jan-2006 15:04:05 -0700", string(b))
	return t, err == nil
}

// ParseDate reads the date of a search key, 1-Feb-1994, as a day in UTC.
func ParseDate(b []byte) (time.Time, bool) {
	t, err := time.Parse("2-Jan-2006", string(b))
	return t, err == nil
}

// AppendDateTime appends t as INTERNALDATE shows it, without quotes.
func AppendDateTime(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, "02-Jan-2006 15:04:05 -0700")
}

package maillog

import (
	"strconv"
	"strings"
	"time"
)

// conversions are those of strftime(3) in the C locale that time.Format knows.
var conversions = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06",
	'e': "_2", 'F': "2006-01-02", 'h': "Jan", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm",
	'r': "03:04:05 PM", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006",
	'z': "-0700", 'Z': "MST",
}

// appendTime appends t in the form that layout gives. What it does not know stays as
// it is, as with strftime(3).
func appendTime(b []byte, layout string, t time.Time) []byte {
	if before, after, ok := strings.Cut(layout, "%{usecs}"); ok {
		b = appendTime(b, before, t)
		micros := strconv.Itoa(1_000_000 + t.Nanosecond()/1000)
		return appendTime(append(b, micros[1:]...), after, t)
	}
	for i := 0; i < len(layout); i++ {
		if layout[i] != '%' || i+1 == len(layout) {
			b = append(b, layout[i])
			continue
		}
		i++
		b = appendConversion(b, layout[i], t)
	}
	return b
}

func appendConversion(b []byte, c byte, t time.Time) []byte {
	if form, ok := conversions[c]; ok {
		return t.AppendFormat(b, form)
	}
	isoYear, isoWeek := t.ISOWeek()
	switch c {
	case '%':
		return append(b, '%')
	case 'n':
		return append(b, '\n')
	case 't':
		return append(b, '\t')
	case 'C':
		return appendPadded(b, t.Year()/100, 2, '0')
	case 'g':
		return appendPadded(b, isoYear%100, 2, '0')
	case 'G':
		return strconv.AppendInt(b, int64(isoYear), 10)
	case 'j':
		return appendPadded(b, t.YearDay(), 3, '0')
	case 'k':
		return appendPadded(b, t.Hour(), 2, ' ')
	case 'l':
		return appendPadded(b, (t.Hour()+11)%12+1, 2, ' ')
	case 's':
		return strconv.AppendInt(b, t.Unix(), 10)
	case 'u':
		return strconv.AppendInt(b, int64((t.Weekday()+6)%7+1), 10)
	case 'U':
		return appendPadded(b, (t.YearDay()+6-int(t.Weekday()))/7, 2, '0')
	case 'V':
		return appendPadded(b, isoWeek, 2, '0')
	case 'w':
		return strconv.AppendInt(b, int64(t.Weekday()), 10)
	case 'W':
		return appendPadded(b, (t.YearDay()+6-int(t.Weekday()+6)%7)/7, 2, '0')
	}
	return append(b, '%', c)
}

func appendPadded(b []byte, n, width int, pad byte) []byte {
	s := strconv.Itoa(n)
	for range width - len(s) {
		b = append(b, pad)
	}
	return append(b, s...)
}

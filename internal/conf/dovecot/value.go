package dovecot

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// canonical checks the text of a value and returns it as doveconf prints it,
// which is also the form kept in memory. The error text is Dovecot's.
func (s *Setting) canonical(v string) (string, error) {
	switch s.Kind {
	case KindBool:
		b, err := parseBool(v)
		return formatBool(b), err
	case KindUint:
		n, err := parseUint(v)
		return strconv.FormatUint(uint64(n), 10), err
	case KindOctal:
		m, err := parseMode(v)
		return "0" + strconv.FormatUint(uint64(m), 8), err
	case KindTime:
		d, err := parseTime(v)
		return formatTime(d), err
	case KindMsecs:
		d, err := parseMsecs(v)
		return formatTime(d), err
	case KindSize:
		n, err := parseSize(v)
		return formatSize(n), err
	case KindPort:
		p, err := parsePort(v)
		return strconv.FormatUint(uint64(p), 10), err
	case KindEnum:
		for _, w := range s.Enum {
			if v == w {
				return v, nil
			}
		}
		return "", fmt.Errorf("Invalid value: %s", v)
	}
	return v, nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "yes", "y", "1":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("Invalid boolean value: %s (use yes or no)", v)
}

func formatBool(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func parseUint(v string) (uint32, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) && v[0] != '-' || err == nil && n > math.MaxUint32:
		return 0, fmt.Errorf("Invalid number %s: Number too large", v)
	case errors.Is(err, strconv.ErrRange) || err == nil && n < 0:
		return 0, fmt.Errorf("Invalid number %s: Number too small", v)
	case err != nil || v[0] == '+':
		return 0, fmt.Errorf("Invalid number %s: Not a valid number", v)
	}
	return uint32(n), nil
}

// parseMode reads a number as octal only if it begins with 0.
func parseMode(v string) (Mode, error) {
	if !strings.HasPrefix(v, "0") {
		n, err := parseUint(v)
		return Mode(n), err
	}
	n, err := strconv.ParseUint(v, 8, 32)
	if err != nil || strings.Contains(v, "_") {
		return 0, fmt.Errorf("Invalid number: %s", v)
	}
	return Mode(n), nil
}

func parsePort(v string) (Port, error) {
	n, rest, ok := leadingNumber(v)
	if !ok || rest != "" || n > math.MaxUint16 {
		return 0, fmt.Errorf("Invalid port number %s", v)
	}
	return Port(n), nil
}

// leadingNumber splits the decimal digits off the front of v.
func leadingNumber(v string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(v) && '0' <= v[i] && v[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(v[:i], 10, 64)
	return n, v[i:], err == nil
}

// timeUnits are the names of which any prefix is a unit. The first match wins,
// so "m" is minutes.
var timeUnits = []struct {
	name string
	unit time.Duration
}{
	{"secs", time.Second}, {"seconds", time.Second},
	{"mins", time.Minute}, {"minutes", time.Minute},
	{"msecs", time.Millisecond}, {"mseconds", time.Millisecond},
	{"millisecs", time.Millisecond}, {"milliseconds", time.Millisecond},
	{"hours", time.Hour}, {"days", 24 * time.Hour}, {"weeks", 7 * 24 * time.Hour},
}

// parseInterval reads a number and its unit; zero needs none.
func parseInterval(v string) (n uint64, unit time.Duration, err error) {
	n, rest, ok := leadingNumber(v)
	if !ok {
		return 0, 0, fmt.Errorf("Invalid time interval: %s", v)
	}
	rest = strings.ToLower(strings.TrimLeft(rest, " "))
	if rest == "" {
		if n != 0 {
			return 0, 0, fmt.Errorf("Time interval '%s' is missing units (add e.g. 's' for seconds)", v)
		}
		return 0, time.Second, nil
	}
	for _, u := range timeUnits {
		if strings.HasPrefix(u.name, rest) {
			return n, u.unit, nil
		}
	}
	return 0, 0, fmt.Errorf("Invalid time interval: %s", v)
}

// ParseTime reads a time as it is written in settings: "2 weeks".
func ParseTime(v string) (time.Duration, error) { return parseTime(v) }

// ParseMsecs is ParseTime for what may have milliseconds: "1500 ms".
func ParseMsecs(v string) (time.Duration, error) { return parseMsecs(v) }

// ParseSize reads a size as it is written in settings: "10 M".
func ParseSize(v string) (Size, error) { return parseSize(v) }

// parseTime reads a setting that is kept in seconds, 32 bits of them.
func parseTime(v string) (time.Duration, error) {
	n, unit, err := parseInterval(v)
	if err != nil {
		return 0, err
	}
	if unit == time.Millisecond {
		if n%1000 != 0 {
			return 0, fmt.Errorf("Milliseconds not supported for this setting: %s", v)
		}
		n, unit = n/1000, time.Second
	}
	if n > math.MaxUint32/uint64(unit/time.Second) {
		return 0, fmt.Errorf("Time interval is too large: %s", v)
	}
	return time.Duration(n) * unit, nil
}

// parseMsecs reads a setting that is kept in milliseconds, 32 bits of them.
func parseMsecs(v string) (time.Duration, error) {
	n, unit, err := parseInterval(v)
	if err != nil {
		return 0, err
	}
	if n > math.MaxUint32/uint64(unit/time.Millisecond) {
		return 0, fmt.Errorf("Time interval is too large: %s", v)
	}
	return time.Duration(n) * unit, nil
}

func formatTime(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + " ms"
	}
	n, unit := int64(d/time.Second), "secs"
	switch {
	case n == 0:
		return "0"
	case n%(7*24*3600) == 0:
		n, unit = n/(7*24*3600), "weeks"
	case n%(24*3600) == 0:
		n, unit = n/(24*3600), "days"
	case n%3600 == 0:
		n, unit = n/3600, "hours"
	case n%60 == 0:
		n, unit = n/60, "mins"
	}
	return strconv.FormatInt(n, 10) + " " + unit
}

// parseSize reads a number with an optional unit: B, or K, M, G, T that may be
// followed by i, B or iB.
func parseSize(v string) (Size, error) {
	n, rest, ok := leadingNumber(v)
	if !ok {
		return 0, fmt.Errorf("Invalid size: %s", v)
	}
	unit := strings.ToUpper(strings.TrimLeft(rest, " "))
	shift := 0
	if unit != "" && unit != "B" {
		shift = 10 * (1 + strings.IndexByte("KMGT", unit[0]))
		switch unit[1:] {
		case "", "I", "B", "IB":
		default:
			shift = 0
		}
		if shift == 0 {
			return 0, fmt.Errorf("Invalid size: %s", v)
		}
	}
	if n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("Size is too large: %s", v)
	}
	return Size(n << shift), nil
}

func formatSize(n Size) string {
	units := []string{" B", " k", " M", " G", " T"}
	i := 0
	for ; n != 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	if n == 0 {
		return "0"
	}
	return strconv.FormatUint(uint64(n), 10) + units[i]
}

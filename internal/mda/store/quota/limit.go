package quota

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// A Usage is what messages take.
type Usage struct{ Bytes, Messages int64 }

// Plus returns the sum.
func (u Usage) Plus(v Usage) Usage { return Usage{u.Bytes + v.Bytes, u.Messages + v.Messages} }

// Minus returns the difference.
func (u Usage) Minus(v Usage) Usage { return Usage{u.Bytes - v.Bytes, u.Messages - v.Messages} }

// A Limit is how much there may be; 0 is no limit.
type Limit struct{ Bytes, Messages int64 }

// Fits reports whether messages of these sizes can be added, one after the other, where used is taken. The
// first may exceed the limit of bytes by grace.
func (l Limit) Fits(used Usage, sizes []int64, grace int64) bool {
	for _, size := range sizes {
		if l.Messages > 0 && used.Messages >= l.Messages || l.Bytes > 0 && used.Bytes >= l.Bytes {
			return false
		}
		if l.Bytes > 0 && size > l.Bytes-used.Bytes+grace {
			return false
		}
		used, grace = used.Plus(Usage{size, 1}), 0
	}
	return true
}

// number takes the decimal number off the beginning of text.
func number(text string) (n int64, rest string, ok bool) {
	end := 0
	if strings.HasPrefix(text, "-") {
		end = 1
	}
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	return n, text[end:], err == nil
}

// units are what may follow a number.
var units = map[string]int64{"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

// An amount is a number in bytes or messages, or so many percent of another one.
type amount struct{ fixed, percent int64 }

// parseAmount reads a number with its unit, which is unit if there is none.
func parseAmount(n int64, suffix string, unit int64) (amount, error) {
	if strings.HasPrefix(suffix, "%") {
		if n <= -100 || n >= math.MaxUint32 {
			return amount{}, errors.New("Invalid percentage")
		}
		return amount{percent: n}, nil
	}
	if suffix != "" {
		var ok bool
		if unit, ok = units[strings.ToUpper(suffix[:1])]; !ok {
			return amount{}, fmt.Errorf("Unknown unit: %s", suffix)
		}
	}
	// Dovecot takes what does not fit into 64 bits for some other number, even for 0, which is no limit.
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return amount{}, errors.New("Value is too large")
	}
	return amount{fixed: n * unit}, nil
}

// of returns the amount, where whole is 100 percent.
func (a amount) of(whole int64) int64 {
	if a.percent == 0 {
		return a.fixed
	}
	sign := int64(1)
	percent := a.percent
	if percent < 0 {
		sign, percent = -1, -percent
	}
	high, low := bits.Mul64(uint64(max(whole, 0)), uint64(percent))
	if high >= 100 {
		return sign * math.MaxInt64
	}
	share, _ := bits.Div64(high, low, 100)
	return sign * int64(min(share, math.MaxInt64))
}

// amounts are those of a rule.
type amounts struct{ bytes, messages amount }

func (a *amounts) of(base Limit) Limit {
	return Limit{a.bytes.of(base.Bytes), a.messages.of(base.Messages)}
}

// parse reads limits, separated by colons. Those of a rule for some mailboxes are relative.
func (a *amounts) parse(text string, relative, percent bool, obsolete func(limit, value string)) error {
	for word := range strings.SplitSeq(text, ":") {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(value, "+"):
			if !relative {
				return errors.New("Rule limit cannot have '+'")
			}
			value = value[1:]
		case relative && !strings.HasPrefix(value, "-"):
			obsolete(word, key+"=+"+value)
		}
		into, unit, what := &a.bytes, int64(1), "bytes limit"
		switch key {
		case "storage":
			unit, what = 1024, "storage limit"
		case "bytes":
		case "messages":
			into, what = &a.messages, "bytes messages"
		default:
			return fmt.Errorf("Unknown rule limit name: %s", key)
		}
		n, suffix, ok := number(value)
		if !ok {
			return fmt.Errorf("Invalid %s: %s", what, value)
		}
		x, err := parseAmount(n, suffix, unit)
		if err == nil && x.percent != 0 && !percent {
			err = errors.New("Default rule can't be a percentage")
		}
		if err != nil {
			return fmt.Errorf("Invalid rule limit value '%s': %w", word, err)
		}
		*into = x
	}
	switch {
	case relative:
	case a.bytes.fixed < 0:
		return errors.New("Bytes limit can't be negative")
	case a.messages.fixed < 0:
		return errors.New("Count limit can't be negative")
	}
	return nil
}

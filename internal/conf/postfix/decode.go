package postfix

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Decode fills dst, a pointer to a registered struct. The error text is
// Postfix's for the first parameter that is wrong.
func (m *Main) Decode(dst any) error {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("postfix: cannot decode into %T", dst)
	}
	plan, ok := schema().plans[v.Type().Elem()]
	if !ok {
		return fmt.Errorf("postfix: type %s is not registered", v.Type().Elem())
	}
	for _, f := range plan {
		if err := m.field(f.param, v.Elem().FieldByIndex(f.index)); err != nil {
			return err
		}
	}
	return nil
}

// Get decodes the registered struct type T.
func Get[T any](m *Main) (*T, error) {
	v := new(T)
	if err := m.Decode(v); err != nil {
		return nil, err
	}
	return v, nil
}

// Time is the value of a time parameter.
func (m *Main) Time(name string) (time.Duration, error) {
	p := Lookup(name)
	if p == nil || p.Kind != KindTime {
		return 0, fmt.Errorf("postfix: %s is no time parameter", name)
	}
	text, _, err := m.Expand(name)
	if err != nil {
		return 0, err
	}
	return p.time(text)
}

func (m *Main) field(p *Param, dst reflect.Value) error {
	text, _ := m.raw(p.Name, p)
	if p.Kind != KindRaw {
		var err error
		if text, err = m.ExpandText(text); err != nil {
			return err
		}
	}
	if p.Name == "myorigin" {
		var err error
		if text, err = originFile(text); err != nil {
			return err
		}
	}
	return p.assign(dst, text)
}

// assign converts the expanded text of a parameter.
func (p *Param) assign(dst reflect.Value, text string) error {
	switch p.Kind {
	case KindBool:
		b, err := p.bool(text)
		if err == nil {
			dst.SetBool(b)
		}
		return err
	case KindInt, KindSize:
		n, err := p.number(text)
		if err == nil {
			setNumber(dst, n)
		}
		return err
	case KindTime:
		d, err := p.time(text)
		if err == nil {
			dst.SetInt(int64(d))
		}
		return err
	}
	if len(text) < p.Limits.MinLen {
		return fmt.Errorf("bad string length %d < %d: %s = %s", len(text), p.Limits.MinLen, p.Name, text)
	}
	dst.SetString(text)
	return nil
}

func setNumber(dst reflect.Value, n int64) {
	if dst.CanInt() {
		dst.SetInt(n)
	} else {
		dst.SetUint(uint64(n))
	}
}

func (p *Param) bool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("bad boolean configuration: %s = %s", p.Name, text)
}

func (p *Param) number(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(text, spaces), 10, 64)
	if err != nil || p.Kind == KindInt && (n > math.MaxInt32 || n < math.MinInt32) {
		return 0, fmt.Errorf("bad numerical configuration: %s = %s", p.Name, text)
	}
	if p.Limits.HasMin && n < p.Limits.Min {
		return 0, fmt.Errorf("invalid %s parameter value %d < %d", p.Name, n, p.Limits.Min)
	}
	if p.Limits.HasMax && n > p.Limits.Max {
		return 0, fmt.Errorf("invalid %s parameter value %d > %d", p.Name, n, p.Limits.Max)
	}
	return n, nil
}

var timeUnits = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// time reads a number with an optional unit letter, after which Postfix reads
// nothing. Without it the unit is that of the default.
func (p *Param) time(text string) (time.Duration, error) {
	d, ok := ParseTime(text, p.defaultUnit())
	if !ok {
		return 0, fmt.Errorf("parameter %s: bad time value or unit: %s", p.Name, text)
	}
	seconds := int64(d / time.Second)
	if p.Limits.HasMin && seconds < p.Limits.Min {
		return 0, fmt.Errorf("invalid %s: %d (min %d)", p.Name, seconds, p.Limits.Min)
	}
	if p.Limits.HasMax && seconds > p.Limits.Max {
		return 0, fmt.Errorf("invalid %s: %d (max %d)", p.Name, seconds, p.Limits.Max)
	}
	return d, nil
}

// defaultUnit is the unit letter at the end of the default: seconds if that is an
// expression.
func (p *Param) defaultUnit() byte {
	if n := len(p.Default); n > 0 {
		if _, ok := timeUnits[p.Default[n-1]]; ok {
			return p.Default[n-1]
		}
	}
	return 's'
}

// ParseTime reads a time such as "5d"; unit is the letter for a number
// without one.
func ParseTime(text string, unit byte) (time.Duration, bool) {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(text[:n], 10, 64)
	if err != nil {
		return 0, false
	}
	if n < len(text) {
		unit = text[n]
	}
	u := timeUnits[unit]
	if u == 0 || v > math.MaxInt32/int64(u/time.Second) {
		return 0, false
	}
	return time.Duration(v) * u, true
}

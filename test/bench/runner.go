package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A session is one run of the program.
type session struct {
	ctx      context.Context
	rounds   int
	duration time.Duration
	programs []harness.Program
	volume   *volume
}

// A result is what was measured for one row, by program.
type result struct {
	row
	values map[harness.Program][]float64
}

// measure runs the rounds of a benchmark.
func (s *session) measure(b *benchmark) ([]*result, error) {
	var results []*result
	for _, r := range b.rows {
		results = append(results, &result{row: r, values: make(map[harness.Program][]float64)})
	}
	for round := range s.rounds {
		programs := slices.Clone(s.programs)
		if round%2 == 1 {
			slices.Reverse(programs)
		}
		for _, p := range programs {
			if b.alone && p == harness.Original {
				continue
			}
			values, others, err := s.once(b, p)
			if err != nil {
				return nil, fmt.Errorf("%s: %v: %w", b.rows[0].name, p, err)
			}
			for i, v := range values {
				r := results[i]
				r.values[p] = append(r.values[p], v)
				fmt.Fprintf(os.Stderr, "%s: round %d: %v: %s %s, others took %.0f%% of the processors\n",
					r.name, round+1, p, number(v), r.unit, 100*others)
			}
		}
	}
	return results, nil
}

// once runs a benchmark with one program.
func (s *session) once(b *benchmark, p harness.Program) (values []float64, others float64, err error) {
	e := &env{ctx: s.ctx, duration: s.duration}
	defer e.close()
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			e.failed, err = true, f.err
		}
	}()
	harness.Binary(e) // not on the volume: it is used again
	undo, err := s.volume.fresh()
	if err != nil {
		return nil, 0, err
	}
	e.Cleanup(undo)
	syscall.Sync() // nobody pays for the writes of the one before
	m := newMeter()
	values = b.run(e, p)
	return values, m.others(), s.ctx.Err()
}

// An env is where a benchmark starts its servers; it ends them.
type env struct {
	ctx      context.Context
	duration time.Duration
	failed   bool

	mu       sync.Mutex
	cleanups []func()
}

var _ harness.TB = (*env)(nil)

// A failure ends a measurement. It is a panic only as far as [session.once].
type failure struct{ err error }

func (e *env) close() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}

func (e *env) Helper()      {}
func (e *env) Failed() bool { return e.failed }

func (e *env) Cleanup(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}

func (e *env) Errorf(format string, args ...any) {
	e.failed = true
	e.Logf(format, args...)
}

func (e *env) Fatalf(format string, args ...any) {
	panic(failure{fmt.Errorf(format, args...)})
}

func (e *env) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// check ends the measurement if there is an error.
func (e *env) check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// wait polls until ok returns true.
func (e *env) wait(what string, timeout time.Duration, ok func() bool) {
	deadline := time.Now().Add(timeout)
	for !ok() {
		switch {
		case e.ctx.Err() != nil:
			e.check(e.ctx.Err())
		case time.Now().After(deadline):
			e.check(errors.New(what + ": still waiting after " + timeout.String()))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A goal is what a row should reach.
type goal struct {
	factor float64 // times the original, or 0
	limit  float64 // in the row's unit
}

func times(f float64) goal  { return goal{factor: f} }
func atMost(l float64) goal { return goal{limit: l} }

func (g goal) String() string {
	if g.factor > 0 {
		return fmt.Sprintf("≥ %v×", g.factor)
	}
	if g.limit > 0 {
		return fmt.Sprintf("≤ %v", g.limit)
	}
	return ""
}

func (r *result) ratios() []float64 {
	var ratios []float64
	original, dovetail := r.values[harness.Original], r.values[harness.Dovetail]
	for i := range min(len(original), len(dovetail)) {
		ratio := dovetail[i] / original[i]
		if r.goal.limit > 0 {
			ratio = original[i] / dovetail[i]
		}
		ratios = append(ratios, ratio)
	}
	return ratios
}

// reached says whether the goal is, in words for the table.
func (r *result) reached() string {
	ours, ratios := r.values[harness.Dovetail], r.ratios()
	switch {
	case r.goal == goal{}, r.goal.factor > 0 && len(ratios) == 0, len(ours) == 0:
		return ""
	case r.goal.factor > 0 && median(ratios) >= r.goal.factor, r.goal.limit > 0 && median(ours) <= r.goal.limit:
		return "reached"
	}
	return "**missed**"
}

func printTable(w io.Writer, place string, results []*result) {
	fmt.Fprintf(w, "Mail in %s.\n\n", place)
	fmt.Fprintln(w, "| Benchmark | Unit | Original | Dovetail | Ratio | Goal | |")
	fmt.Fprintln(w, "|---|---|---:|---:|---:|---:|---|")
	for _, r := range results {
		ratio := ""
		if ratios := r.ratios(); len(ratios) > 0 {
			ratio = fmt.Sprintf("%.1f×", median(ratios))
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", r.name, r.unit,
			number(median(r.values[harness.Original])), number(median(r.values[harness.Dovetail])), ratio, r.goal, r.reached())
	}
}

// median returns 0 for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

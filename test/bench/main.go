package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

func main() {
	os.Exit(run())
}

func run() int {
	pattern := flag.String("run", "", "run only the benchmarks that the `regexp` matches")
	count := flag.Int("count", 3, "counted `rounds` of each benchmark")
	seconds := flag.Int("seconds", 5, "`seconds` that one measurement takes, about")
	only := flag.String("program", "", "measure only `dovetail` or original: for profiles, there are no ratios")
	flag.Parse()
	selected, err := regexp.Compile(*pattern)
	if err != nil || flag.NArg() > 0 || *count < 1 || *seconds < 1 {
		flag.Usage()
		return 2
	}
	place, err := storage()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer harness.CleanUp()

	vol, err := newVolume()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer vol.remove()
	s := &session{ctx: ctx, volume: vol, rounds: *count, duration: time.Duration(*seconds) * time.Second, programs: programs(*only)}
	status := 0
	var results []*result
	for _, b := range benchmarks {
		if !slices.ContainsFunc(b.rows, func(r row) bool { return selected.MatchString(r.name) }) {
			continue
		}
		measured, err := s.measure(b)
		switch {
		case errors.Is(err, context.Canceled):
			return 1
		case err != nil:
			fmt.Fprintf(os.Stderr, "%v\n", err)
			status = 1
		default:
			results = append(results, measured...)
		}
	}
	printTable(os.Stdout, place, results)
	return status
}

// programs are those measured, in the order of the first round.
func programs(only string) []harness.Program {
	all := []harness.Program{harness.Original, harness.Dovetail}
	for _, p := range all {
		if p.String() == only {
			return []harness.Program{p}
		}
	}
	return all
}

// storage says where mail is kept, and refuses memory.
func storage() (string, error) {
	const tmpfs = 0x01021994
	names := map[int64]string{0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x2fc12fc1: "zfs"}
	dir := os.TempDir()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	if st.Type == tmpfs {
		return "", fmt.Errorf("%s is in memory, where a sync costs nothing: set TMPDIR to a directory on a disk", dir)
	}
	name, ok := names[st.Type]
	if !ok {
		name = fmt.Sprintf("file system %#x", st.Type)
	}
	return fmt.Sprintf("a new ext4 file system for each measurement, in a file in %s (%s)", dir, name), nil
}

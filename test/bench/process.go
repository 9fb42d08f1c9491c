package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// A process is a running process.
type process struct {
	pid int
	cpu time.Duration // it and the children that it has waited for
}

// descendants returns a process and all below it.
func descendants(root int) []process {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	children := make(map[int][]process)
	all := []process{{pid: root}}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PPID ...; a name may contain anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		field := func(n int) int { v, _ := strconv.Atoi(string(fields[n-3])); return v } // numbered as in proc(5)
		p := process{cpu: tick * time.Duration(field(14)+field(15)+field(16)+field(17))}
		p.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if p.pid == root {
			all[0] = p
		}
		children[field(4)] = append(children[field(4)], p)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].pid]...)
	}
	return all
}

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Descendants returns the processes that were started by pid or by one that
// was.
func Descendants(pid int) []int {
	parents := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid": the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		if fields[0] != "Z" {
			parents[parent] = append(parents[parent], child)
		}
	}
	var all []int
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		all = append(all, parents[todo[0]]...)
		todo = append(todo, parents[todo[0]]...)
	}
	return all
}

// Title is what ps shows as the command of a process: "dovecot/imap-login".
func Title(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	title, _, _ := strings.Cut(string(text), "\x00")
	return title
}

// Status returns a field of /proc/PID/status: "Uid", "Groups", "CapEff", "VmRSS".
func Status(pid int, field string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// Children returns Dovetail's daemon processes with a title.
func (p *Process) Children(title string) []int {
	return slices.DeleteFunc(Descendants(p.Cmd.Process.Pid), func(pid int) bool { return Title(pid) != title })
}

// Child waits for the daemon process with a title, of which there is one.
func (p *Process) Child(t TB, title string) int {
	t.Helper()
	pid := 0
	Eventually(t, "process "+title, func() bool {
		all := p.Children(title)
		if len(all) != 1 {
			return false
		}
		pid = all[0]
		return true
	})
	return pid
}

// KillAll ends the server and all its processes at once, as a crash of the
// machine would, but for what the kernel holds.
func (p *Process) KillAll() {
	master := p.Cmd.Process.Pid
	syscall.Kill(master, syscall.SIGSTOP) // it must not start others meanwhile
	children := Descendants(master)
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	syscall.Kill(master, syscall.SIGKILL)
	<-p.done
	for _, pid := range children {
		for !Gone(pid) {
			time.Sleep(time.Millisecond)
		}
	}
}

// Gone reports whether a process has ended, with all its threads: its first one
// may be dead while others still hold its sockets.
func Gone(pid int) bool {
	state := Status(pid, "State")
	threads := Status(pid, "Threads")
	return state == "" || strings.HasPrefix(state, "Z") && (threads == "" || threads == "1")
}

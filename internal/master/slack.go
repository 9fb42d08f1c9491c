package master

import (
	"fmt"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// startSlack starts a process whose threads inherit a timer slack (PR_SET_TIMERSLACK(2const)): the kernel may end
// their sleeps that much later, 0 for the system's 50 µs.
//
// It is for Go's sysmon, which looks every 20 µs for threads that are held by a system call, fdatasync(2) for
// instance, as long as it keeps finding some. On a virtual machine, where arming a timer leaves the guest, that is
// a tenth of a busy mail server's processor time. With a slack of a millisecond a held processor is noticed as much
// later, and other timers are as late.
func startSlack(cmd *exec.Cmd, slack time.Duration) error {
	if slack == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread() // of which the process inherits it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return fmt.Errorf("timer slack: %w", err)
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) //nolint:errcheck // back to the thread's own, as it was set before
	return cmd.Start()
}

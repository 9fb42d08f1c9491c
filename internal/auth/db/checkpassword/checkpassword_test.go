package checkpassword

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// program writes a shell script and returns its path.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	c := &Call{Args: []string{program(t, `tr '\0' , <&3 >&4; printf '\t%s\t%s\t' "$X" "$1" >&4; echo complaint >&2; exit 7`), "an argument"}, Env: []string{"X=environment", "PATH=/usr/bin:/bin"}, User: "alice", Password: "secret"}
	r, err := Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := &Reply{PID: r.PID, Status: 7, Fields: []string{"alice,secret,,", "environment", "an argument"}, Errors: []string{"complaint"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

// A program that does not read what it is asked does no harm.
func TestRunUnread(t *testing.T) {
	r, err := Run(context.Background(), &Call{Args: []string{program(t, "exit 1")}, User: "alice", Password: "secret"})
	if err != nil || r.Status != 1 || !r.Empty {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRunErrors(t *testing.T) {
	for name, tt := range map[string]struct{ program, want string }{
		"endless":  {program(t, "exec cat /dev/zero >&4"), "checkpassword reply is longer than 65536 bytes"},
		"NUL":      {program(t, `printf 'a\0b' >&4`), "NUL characters in checkpassword reply"},
		"LF":       {program(t, "echo x >&4"), "LF characters in checkpassword reply"},
		"signal":   {program(t, "kill -9 $$"), "died with signal 9"},
		"missing":  {"/nonexistent", "execv(/nonexistent) failed: no such file or directory"},
		"relative": {"no-such-program", "execv(no-such-program) failed:"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Run(context.Background(), &Call{Args: []string{tt.program}, Env: []string{"PATH=/usr/bin:/bin"}, User: "alice"})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	var tooLong ErrTooLong
	if _, err := Run(context.Background(), &Call{Args: []string{"/bin/true"}, User: strings.Repeat("x", 510)}); !errors.As(err, &tooLong) {
		t.Errorf("%v", err)
	}
}

// A program that hangs is killed, and what it has started with it, also if the program itself
// has ended and something holds descriptor 4.
func TestRunHangs(t *testing.T) {
	for name, text := range map[string]string{
		"program": `sleep 1000 & echo $! >%s; wait`,
		"child":   `sleep 1000 & echo $! >%s; exit 0`,
	} {
		t.Run(name, func(t *testing.T) {
			pidFile := filepath.Join(t.TempDir(), "pid")
			path := program(t, fmt.Sprintf(text, pidFile))
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := Run(ctx, &Call{Args: []string{path}, Env: []string{"PATH=/usr/bin:/bin"}, User: "alice"})
				done <- err
			}()
			var pid int
			eventually(t, func() bool {
				text, _ := os.ReadFile(pidFile)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid > 0 && strings.HasSuffix(string(text), "\n")
			})
			cancel()
			select {
			case err := <-done:
				if err == nil {
					t.Error("success")
				}
			case <-time.After(30 * time.Second):
				t.Fatal("Run does not return")
			}
			eventually(t, func() bool { return gone(pid) })
		})
	}
}

// gone reports whether a process has ended; somebody else may have to reap it.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never happens")
		}
	}
}

func TestReply(t *testing.T) {
	for name, tt := range map[string]struct {
		env      map[string]string
		uid      int
		status   int
		answer   string
		complain string
	}{
		"all":       {map[string]string{"ORIG_UID": "5", "USER": "alice", "HOME": "/h", "EXTRA": "userdb_UID a\tb  none userdb_gid", "userdb_UID": "8", "userdb_gid": "", "a\tb": "x\n\x01"}, 5, 0, "user=alice\tuserdb_home=/h\tuserdb_uid=8\ta\x01tb=x\x01n\x011\tuserdb_gid=\t", ""},
		"nothing":   {map[string]string{"ORIG_UID": "5"}, 5, 0, "userdb_uid=5\tuserdb_gid=6\t", ""},
		"lookup":    {map[string]string{"ORIG_UID": "5", "AUTHORIZED": "2"}, 5, 2, "userdb_uid=5\tuserdb_gid=6\t", ""},
		"no lookup": {map[string]string{"ORIG_UID": "5", "AUTHORIZED": "1"}, 5, 111, "userdb_uid=5\tuserdb_gid=6\t", "Script doesn't support"},
		"other uid": {map[string]string{"ORIG_UID": "5"}, 7, 111, "", "couldn't be run securely"},
		"no uid":    {map[string]string{}, 7, 111, "", "ORIG_UID environment was dropped"},
		"insecure":  {map[string]string{"INSECURE_SETUID": ""}, 7, 0, "userdb_uid=7\tuserdb_gid=6\t", ""},
		"tab":       {map[string]string{"ORIG_UID": "5", "USER": "a\tb"}, 5, 1, "", "USER contains TAB"},
	} {
		t.Run(name, func(t *testing.T) {
			var answer, complain strings.Builder
			p := process{lookup: func(name string) (string, bool) { v, ok := tt.env[name]; return v, ok }, uid: tt.uid, euid: tt.uid, gid: 6, egid: 6, answer: &answer, complain: &complain}
			if status := p.run(); status != tt.status || answer.String() != tt.answer || !strings.Contains(complain.String(), tt.complain) {
				t.Errorf("%d, %q, %q", status, answer.String(), complain.String())
			}
		})
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add([]byte("user=alice\tuserdb_uid=8\t"))
	f.Add([]byte("a\x01tb=x\t\t\x01"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		fields, err := parseReply(answer)
		for _, field := range fields {
			if field == "" && err != nil {
				t.Errorf("%q", fields)
			}
		}
	})
}

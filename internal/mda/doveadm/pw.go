package doveadm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

// passwordCommands make and check stored passwords.
var passwordCommands = []*command{{
	name: "pw", usage: "[-l] [-p plaintext] [-r rounds] [-s scheme] [-t hash] [-u user] [-V]",
	params: []param{
		flag('l', "list"), option('p', "plaintext"), option('r', "rounds"), option('s', "scheme"), option('t', "test-hash"),
		option('u', "user"), flag('V', "verify"),
	},
	plain: runPW,
}}

func runPW(in *invocation) error {
	if in.set("list") {
		in.stdout.put(strings.Join(password.Schemes(), " ") + " \n")
		return nil
	}
	stored, isTest := in.text("test-hash")
	scheme, ok := in.text("scheme")
	if !ok {
		scheme = "CRYPT"
	}
	user, _ := in.text("user")
	opt := password.Options{User: user}
	if text, ok := in.text("rounds"); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return fatalf(exTempFail, "Invalid number of rounds: %s", text)
		}
		opt.Rounds = n
	}
	if !isTest && !password.Known(scheme) {
		return fatalf(exTempFail, "Unknown scheme: %s", scheme)
	}
	plain, err := in.newPassword(isTest)
	if err != nil {
		return err
	}
	if isTest {
		if !strings.HasPrefix(stored, "{") {
			return fatalf(exTempFail, "Missing {scheme} prefix from hash")
		}
	} else {
		data, err := password.Generate(scheme, plain, opt)
		switch {
		case strings.EqualFold(scheme, "DIGEST-MD5") && user == "":
			return fatalf(exTempFail, "digest_md5_generate(): username not given")
		case err != nil:
			return fatalf(exTempFail, "%v", err)
		}
		stored = "{" + scheme + "}" + data
	}
	if isTest || in.set("verify") {
		if err := verifyStored(stored, plain, user); err != nil {
			return err
		}
		stored += " (verified)"
	}
	in.stdout.put(stored + "\n")
	return nil
}

// verifyStored checks a password as auth would.
func verifyStored(stored, plain, user string) error {
	scheme, data := password.Split(stored, "")
	err := password.Verify(scheme, data, plain, user)
	var unknown password.UnknownSchemeError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, password.ErrMismatch):
		return fatalf(exTempFail, "reverse password verification check failed: Password mismatch")
	case errors.As(err, &unknown):
		return fatalf(exTempFail, "Unknown scheme: %s", scheme)
	}
	return fatalf(exTempFail, "reverse decode check failed: %v", err)
}

// newPassword is that of -p, or one that is typed, twice if it is new.
func (in *invocation) newPassword(once bool) (string, error) {
	if plain, ok := in.text("plaintext"); ok {
		return plain, nil
	}
	plain, err := in.askPassword("Enter new password: ")
	if err != nil || once {
		return plain, err
	}
	again, err := in.askPassword("Retype new password: ")
	if err == nil && again != plain {
		err = fatalf(exTempFail, "Passwords don't match!")
	}
	return plain, err
}

// askPassword reads a line of standard input, without echo if that is a terminal.
func (in *invocation) askPassword(prompt string) (string, error) {
	if f, ok := in.stdin.(*os.File); ok {
		restore, isTerminal := noEcho(int(f.Fd()))
		if isTerminal {
			defer restore()
			fmt.Fprint(in.stderr, prompt)
			defer fmt.Fprintln(in.stderr)
		}
	}
	line, err := readLine(in.stdin)
	if err != nil {
		return "", fatalf(exTempFail, "read() failed: %v", err)
	}
	return line, nil
}

// readLine reads up to a line end, and nothing beyond.
func readLine(r io.Reader) (string, error) {
	if b, ok := r.(*bufio.Reader); ok {
		line, err := b.ReadString('\n')
		return strings.TrimSuffix(line, "\n"), err
	}
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := r.Read(one)
		switch {
		case n == 1 && one[0] == '\n', err == io.EOF && len(line) > 0:
			return string(line), nil
		case n == 1 && len(line) < 4096:
			line = append(line, one[0])
		case err != nil:
			return "", err
		}
	}
}

// noEcho keeps a terminal from showing what is typed.
func noEcho(fd int) (restore func(), isTerminal bool) {
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, false
	}
	now := *was
	now.Lflag &^= unix.ECHO
	if unix.IoctlSetTermios(fd, unix.TCSETS, &now) != nil {
		return nil, false
	}
	return func() { unix.IoctlSetTermios(fd, unix.TCSETS, was) }, true //nolint:errcheck // nothing else can be done
}

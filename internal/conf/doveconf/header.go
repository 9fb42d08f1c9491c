package doveconf

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// printVersion prints the first lines, which come out even if nothing else can.
func (r *run) printVersion() {
	fmt.Fprintf(r.stdout, "# %s: %s\n# Pigeonhole version %s\n", dovecot.Version, r.path, dovecot.PigeonholeVersion)
}

// printHeader prints where the configuration is from.
func (r *run) printHeader(c *dovecot.Config) {
	fmt.Fprintf(r.stdout, "# OS: %s\n# Hostname: %s\n", system(c.Text("mail_location")), hostdomain())
	if r.path == configPath() {
		r.warnOtherConfig(c)
	}
	if r.sel.Show == dovecot.ShowAll {
		fmt.Fprintln(r.stdout, "# NOTE: Send doveconf -n output instead when asking for help.")
	}
}

// warnOtherConfig warns if the running master uses another file.
func (r *run) warnOtherConfig(c *dovecot.Config) {
	link := c.Text("base_dir") + "/dovecot.conf"
	path, err := os.Readlink(link)
	switch {
	case err == nil && path != r.path:
		r.warn(fmt.Sprintf("Dovecot was last started using %s, but this config is %s", path, r.path))
	case err != nil && !os.IsNotExist(err):
		r.error(fmt.Errorf("t_readlink(%s) failed: readlink() failed: %s", link, errnoText(err.(*os.PathError).Err)))
	}
}

// system describes the operating system and the file system of the mail.
func system(mailLocation string) string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s %s %s", cString(u.Sysname[:]), cString(u.Release[:]), cString(u.Machine[:]),
		distribution(), fileSystem(mailLocation))
}

func cString[T int8 | uint8](s []T) string {
	var b []byte
	for _, c := range s {
		if c == 0 {
			break
		}
		b = append(b, byte(c))
	}
	return string(b)
}

// releaseFiles name the distribution in their first line.
var releaseFiles = []string{
	"/etc/redhat-release", "/etc/SuSE-release", "/etc/mandriva-release", "/etc/fedora-release",
	"/etc/sourcemage-release", "/etc/slackware-version", "/etc/gentoo-release",
}

func distribution() string {
	for line := range strings.Lines(readHead("/etc/lsb-release")) {
		if v, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "DISTRIB_DESCRIPTION="); ok {
			return strings.Trim(v, `"`)
		}
	}
	for _, name := range releaseFiles {
		if text := readHead(name); text != "" {
			line, _, _ := strings.Cut(text, "\n")
			return line
		}
	}
	if text := readHead("/etc/debian_version"); text != "" {
		line, _, _ := strings.Cut(text, "\n")
		return "Debian " + line
	}
	return ""
}

// readHead is the beginning of a file, or nothing.
func readHead(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, 1024)
	n, _ := f.Read(b)
	return string(b[:n])
}

// fileSystem is the type of the file system of a mail location, if its path
// does not depend on the user.
func fileSystem(location string) string {
	_, path, ok := strings.Cut(location, ":")
	path, _, _ = strings.Cut(path, ":")
	path, _, _ = strings.Cut(path, "%")
	if !ok || len(path) <= 1 || path[0] == '~' {
		return ""
	}
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return ""
	}
	// As in glibc's gnu_dev_major and gnu_dev_minor.
	major := st.Dev>>8&0xfff | st.Dev>>32&^0xfff
	minor := st.Dev&0xff | st.Dev>>12&^0xff
	return mountType(fmt.Sprintf("%d:%d", major, uint32(minor)))
}

// mountType finds a device in the list of mounts.
func mountType(device string) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, source, ok := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(mount); ok && len(fields) > 2 && fields[2] == device {
			name, _, _ := strings.Cut(source, " ")
			return name
		}
	}
	return ""
}

// lookupTimeout bounds the search for the host's full name.
const lookupTimeout = 5 * time.Second

// hostdomain is the full name of this host.
func hostdomain() string {
	if name := os.Getenv("DOVECOT_HOSTDOMAIN"); name != "" {
		return name
	}
	name := hostname()
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil {
		return strings.TrimSuffix(full, ".")
	}
	return name
}

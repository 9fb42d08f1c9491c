package dialogue

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Original is a running Dovecot with the listeners imap, imaps, pop3, pop3s and
// lmtp on the loopback, the same with haproxy = yes as himap and so on, and one
// static password, "pass", for every user.
type Original struct {
	dir   string
	ports map[string]int
	usual string
}

// dovecot is the program to compare with.
const dovecot = "/usr/sbin/dovecot"

// HaveOriginal reports whether the original can be run: it is installed, and
// this process may give its children other uids.
func HaveOriginal() bool {
	_, err := os.Stat(dovecot)
	return err == nil && os.Getuid() == 0
}

// StartOriginal starts Dovecot for the test, with the configuration added to
// its own. The listener usual is what Addr("") returns.
func StartOriginal(t *testing.T, usual, config string) *Original {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "dovetail-original-") // short, for UNIX sockets
	if err != nil {
		t.Fatal(err)
	}
	o := &Original{dir: dir, usual: usual, ports: map[string]int{}}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cert, key := Certificate()
	for name, data := range map[string]string{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "mail"), 0o777); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	os.Chmod(filepath.Join(dir, "mail"), 0o777)
	conf := filepath.Join(dir, "dovecot.conf")
	// Another test may take a port before Dovecot does: then others are tried.
	for range 3 {
		if err = o.start(t, conf, config); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("dovecot: %v; run it by hand for the reason: %s", err, o.config()+config)
	}
	t.Cleanup(func() { exec.Command(dovecot, "-c", conf, "stop").Run() })
	return o
}

// start starts Dovecot on ports of its own.
func (o *Original) start(t *testing.T, conf, config string) error {
	for _, name := range []string{"imap", "imaps", "pop3", "pop3s", "lmtp", "himap", "himaps", "hpop3", "hlmtp"} {
		o.ports[name] = freePort(t)
	}
	if err := os.WriteFile(conf, []byte(o.config()+config), 0o644); err != nil {
		return err
	}
	// Its daemon inherits standard output, so no pipe can be waited for.
	return exec.Command(dovecot, "-c", conf).Run()
}

// freePort returns a port below those that the system gives to others who ask for any,
// so that it is still free when the server starts.
func freePort(t *testing.T) int {
	for range 1000 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (o *Original) config() string {
	return strings.NewReplacer("HIMAPS", fmt.Sprint(o.ports["himaps"]), "HIMAP", fmt.Sprint(o.ports["himap"]),
		"HPOP3", fmt.Sprint(o.ports["hpop3"]), "HLMTP", fmt.Sprint(o.ports["hlmtp"]), "DIR", o.dir, "IMAPS", fmt.Sprint(o.ports["imaps"]), "POP3S", fmt.Sprint(o.ports["pop3s"]),
		"IMAP", fmt.Sprint(o.ports["imap"]), "POP3", fmt.Sprint(o.ports["pop3"]), "LMTP", fmt.Sprint(o.ports["lmtp"])).Replace(`
base_dir = DIR/run
state_dir = DIR
log_path = DIR/log
listen = 127.0.0.1
protocols = imap pop3 lmtp
mail_location = sdbox:DIR/mail/%u
ssl = yes
ssl_cert = <DIR/cert.pem
ssl_key = <DIR/key.pem
first_valid_uid = 1
auth_failure_delay = 0
login_greeting = Dovecot ready.
passdb {
  driver = static
  args = password=pass
}
userdb {
  driver = static
  args = uid=mail gid=mail home=DIR/mail/%u
}
service imap-login {
  inet_listener imap {
    port = IMAP
  }
  inet_listener imaps {
    port = IMAPS
    ssl = yes
  }
  inet_listener himap {
    port = HIMAP
    haproxy = yes
  }
  inet_listener himaps {
    port = HIMAPS
    ssl = yes
    haproxy = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = POP3
  }
  inet_listener pop3s {
    port = POP3S
    ssl = yes
  }
  inet_listener hpop3 {
    port = HPOP3
    haproxy = yes
  }
}
service lmtp {
  inet_listener lmtp {
    port = LMTP
  }
  inet_listener hlmtp {
    port = HLMTP
    haproxy = yes
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`)
}

// Addr implements [Server].
func (o *Original) Addr(name string) string {
	if name == "" {
		name = o.usual
	}
	return fmt.Sprintf("127.0.0.1:%d", o.ports[name])
}

// Log implements [Server].
func (o *Original) Log() []string {
	b, err := os.ReadFile(filepath.Join(o.dir, "log"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Mail implements [Server].
func (o *Original) Mail() string { return filepath.Join(o.dir, "mail") }

var _ Server = (*Original)(nil)

package mta

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestScripts plays each script on both programs.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	t.Run("", func(t *testing.T) { // ends when all have
		for _, file := range files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
				t.Parallel()
				theirs, ours := play(t, harness.Original, file), play(t, harness.Dovetail, file)
				if diff := cmp.Diff(theirs, ours); diff != "" && !t.Failed() {
					t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
				}
			})
		}
	})
}

// An outcome is what a script left behind.
type outcome struct {
	Log     []string
	Letters map[string][]string // by next hop, their lines
}

// A player plays a script.
type player struct {
	*site
	t    *testing.T
	hops map[string]*harness.NextHop

	filters map[string]*contentFilter

	slapd   *harness.Slapd
	mariadb *harness.SQLServer
}

func play(t *testing.T, p harness.Program, file string) (out outcome) {
	pl := &player{hops: make(map[string]*harness.NextHop), filters: make(map[string]*contentFilter)}
	testscript.RunT(inOrder{t, p.String()}, testscript.Params{
		Files:              []string{file},
		RequireUniqueNames: true,
		WorkdirRoot:        harness.Dir(t),
		Setup:              func(env *testscript.Env) error { return pl.setup(env, p) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": pl.cmdStart, "reload": pl.cmdReload, "stop": pl.cmdStop, "nexthop": pl.cmdNexthop, "send": pl.cmdSend, "quiet": pl.cmdQuiet,
			"logged": pl.cmdLogged, "letters": pl.cmdLetters, "fill": pl.cmdFill, "dovecot": pl.cmdDovecot, "imap": pl.cmdIMAP,
			"slapd": pl.cmdSlapd, "mariadb": pl.cmdMariaDB, "talk": pl.cmdTalk, "end": pl.cmdEnd, "age": pl.cmdAge,
			"filter": pl.cmdFilter, "port": pl.cmdPort,
		},
	})
	if pl.site == nil {
		return out
	}
	out.Log, out.Letters = pl.lines(), make(map[string][]string)
	for name, hop := range pl.hops {
		out.Letters[name] = strings.Split(strings.Join(pl.letters(hop), "\n--\n"), "\n")
	}
	for name, f := range pl.filters {
		out.Letters["told "+name] = strings.Split(pl.normal(strings.Join(f.told(), "\n--\n")), "\n")
	}
	return out
}

// inOrder runs a script under a name, and beside no other.
type inOrder struct {
	*testing.T
	name string
}

func (inOrder) Parallel()     {}
func (inOrder) Verbose() bool { return testing.Verbose() }
func (o inOrder) Run(_ string, f func(testscript.T)) {
	o.T.Run(o.name, func(t *testing.T) { f(inOrder{t, ""}) })
}

// setup makes the site with the files that the script brings.
func (pl *player) setup(env *testscript.Env, p harness.Program) error {
	pl.t = env.T().(inOrder).T
	if err := os.Chmod(env.WorkDir, 0o755); err != nil {
		return err
	}
	harness.Certificate(pl.t, env.WorkDir)
	pl.site = newSite(pl.t, p, env.WorkDir)
	env.Setenv("PATH", pl.sbin+":/usr/sbin:/usr/bin:/bin")
	env.Setenv("MAIL_CONFIG", pl.Config)
	env.Setenv("MAILRC", filepath.Join(env.WorkDir, "mailrc"))
	env.Setenv("SMTP", pl.values["SMTP"])
	env.Setenv("SUBMISSION", pl.values["SUBMISSION"])
	return os.WriteFile(filepath.Join(env.WorkDir, "mailrc"), []byte("set sendwait\nset sendmail="+pl.sbin+"/sendmail\n"), 0o644)
}

// set sets a variable of the script and what @NAME@ stands for.
func (pl *player) set(ts *testscript.TestScript, name, value string) {
	pl.values[name] = value
	ts.Setenv(name, value)
}

func noArgs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("takes no ! and no arguments")
	}
}

// start: starts the service.
func (pl *player) cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, neg, args)
	pl.start(pl.t)
}

// reload: makes it read its configuration.
func (pl *player) cmdReload(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, neg, args)
	pl.reload(pl.t)
}

// stop: stops it.
func (pl *player) cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, neg, args)
	pl.Stop()
}

// quiet: waits until no mail is on its way.
func (pl *player) cmdQuiet(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, neg, args)
	pl.quiet(pl.t)
}

// fill FILE...: replaces @NAME@ in files.
func (pl *player) cmdFill(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		harness.Write(pl.t, ts.MkAbs(name), pl.site.fill(ts.ReadFile(name)))
	}
}

// nexthop NAME [-tls] [-login user password] [local=reply]...: starts a next hop, whose port is $NAME.
func (pl *player) cmdNexthop(ts *testscript.TestScript, _ bool, args []string) {
	hop := &harness.NextHop{Replies: make(map[string]string)}
	name, args := args[0], args[1:]
	if len(args) > 0 && args[0] == "-tls" {
		hop.TLS, args = harness.ServerTLS(pl.t, pl.Dir), args[1:]
	}
	if len(args) > 2 && args[0] == "-login" {
		hop.Login, args = args[1]+" "+args[2], args[3:]
	}
	for _, arg := range args {
		local, reply, _ := strings.Cut(arg, "=")
		hop.Replies[local] = reply
	}
	pl.hops[name] = harness.StartNextHop(pl.t, hop)
	pl.set(ts, name, hop.Port())
}

// letters are what a next hop got, without what differs from run to run.
func (pl *player) letters(hop *harness.NextHop) (all []string) {
	for _, l := range hop.Letters() {
		slices.Sort(l.To)
		content := strings.ReplaceAll(l.Content, "\r\n", "\n")
		content = strings.ReplaceAll(content, "\n    ", " ") // where bounces fold depends on names of directories
		all = append(all, pl.normal(l.From+"\n"+strings.Join(l.To, "\n")+"\n\n"+content))
	}
	slices.Sort(all)
	return all
}

// letters NAME N: waits until a next hop has N letters, and shows them.
func (pl *player) cmdLetters(ts *testscript.TestScript, _ bool, args []string) {
	hop, want := pl.hops[args[0]], args[1]
	pl.quiet(pl.t)
	all := pl.letters(hop)
	fmt.Fprintln(ts.Stdout(), strings.Join(all, "\n--\n"))
	if got := fmt.Sprint(len(all)); got != want {
		ts.Fatalf("%s has %s letters, not %s:\n%s", args[0], got, want, strings.Join(all, "\n--\n"))
	}
}

// logged REGEXP...: waits for a line about each. ! logged: there is none.
func (pl *player) cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		re, err := regexp.Compile("(?m)" + arg)
		ts.Check(err)
		if neg {
			if line := re.FindString(pl.log()[pl.mark:]); line != "" {
				ts.Fatalf("was logged: %s", line)
			}
			continue
		}
		harness.Eventually(pl.t, "log line "+arg, func() bool { return re.MatchString(pl.log()[pl.mark:]) })
	}
}

// end: "logged" looks at what comes from here on.
func (pl *player) cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, neg, args)
	pl.quiet(pl.t)
	pl.mark = len(pl.log())
}

// age FILE...: makes files an hour old.
func (pl *player) cmdAge(ts *testscript.TestScript, _ bool, args []string) {
	then := time.Now().Add(-time.Hour)
	for _, name := range args {
		ts.Check(os.Chtimes(ts.MkAbs(name), then, then))
	}
}

const letter = "From: sender@origin.example\r\nTo: you@example.com\r\nSubject: a letter\r\n" +
	"Message-ID: <letter@origin.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nbody\r\n..\r\n"

// send [-from ADDR] [-client IP] [-port PORT] [-submission USER] RECIPIENT...: sends a letter by SMTP and
// shows the replies. The user - does not log in. With ! the message must be refused.
func (pl *player) cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	from, addr, client, user := "sender@origin.example", pl.SMTP, "127.0.0.1", ""
	for ; len(args) > 1 && strings.HasPrefix(args[0], "-"); args = args[2:] {
		switch args[0] {
		case "-from":
			from = args[1]
		case "-client":
			client = args[1]
		case "-port":
			addr = "127.0.0.1:" + args[1]
		case "-submission":
			addr, user = pl.Submission, strings.Trim(args[1], "-")
		default:
			ts.Fatalf("unknown option %s", args[0])
		}
	}
	c := dialFrom(pl.t, client, addr)
	defer c.Close()
	commands := []string{"EHLO client.example"}
	if user != "" {
		plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + harness.Password))
		commands = append(commands, "AUTH PLAIN "+plain)
	}
	commands = append(commands, "MAIL FROM:<"+from+">")
	for _, to := range args {
		commands = append(commands, "RCPT TO:<"+to+">")
	}
	refused := false
	for _, command := range append(commands, "DATA", letter+".", "QUIT") {
		if refused && command != "QUIT" {
			continue
		}
		reply, err := c.Ask(command)
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), reply)
		refused = refused || reply[0] >= '4'
	}
	if refused != neg {
		ts.Fatalf("message refused: %v", refused)
	}
}

// dovecot: starts the mailbox service of the same program, with the users user0 and user1
// @example.test and $LMTP, $LMTPPORT and $AUTH.
func (pl *player) cmdDovecot(ts *testscript.TestScript, _ bool, _ []string) {
	mb := harness.StartMailbox(pl.t, pl.Program, harness.MailboxOptions{SocketUser: "postfix", Extra: "ssl = yes\n"})
	_, port, _ := net.SplitHostPort(mb.LMTP)
	pl.set(ts, "LMTPPORT", port)
	pl.set(ts, "LMTP", mb.LMTPSocket)
	pl.set(ts, "AUTH", mb.AuthSocket)
	pl.set(ts, "IMAP", mb.IMAP)
	pl.values["LMTPDIR"] = mb.Dir
}

// imap USER N: shows the N messages in a mailbox.
func (pl *player) cmdIMAP(ts *testscript.TestScript, _ bool, args []string) {
	c := harness.Connect(pl.t, pl.values["IMAP"])
	c.Must(pl.t, "LOGIN "+args[0]+" "+harness.Password)
	untagged, _ := c.Must(pl.t, "SELECT INBOX")
	if want := "* " + args[1] + " EXISTS"; !slices.Contains(untagged, want) {
		ts.Fatalf("no %q among\n%s", want, strings.Join(untagged, "\n"))
	}
	if args[1] == "0" {
		return
	}
	untagged, _ = c.Must(pl.t, "FETCH 1:* BODY.PEEK[]")
	fmt.Fprintln(ts.Stdout(), strings.Join(untagged, "\n"))
}

// slapd LDIF: starts an LDAP server at $LDAP; slapd -stop stops it.
func (pl *player) cmdSlapd(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "-stop" {
		pl.slapd.Stop()
		return
	}
	pl.slapd = harness.StartSlapd(pl.t, ts.ReadFile(args[0]))
	pl.set(ts, "LDAP", pl.slapd.URI)
}

// mariadb SQL: starts a MariaDB at port $MARIADB; mariadb -stop stops it.
func (pl *player) cmdMariaDB(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "-stop" {
		pl.mariadb.Stop()
		return
	}
	pl.mariadb = harness.StartMariaDB(pl.t, ts.ReadFile(args[0]), false)
	pl.set(ts, "MARIADB", fmt.Sprint(pl.mariadb.Port))
}

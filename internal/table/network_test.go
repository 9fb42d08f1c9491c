package table

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// serve answers connections, each with handle, until the test ends.
func serve(t *testing.T, network, address string, handle func(in *bufio.Reader, out io.Writer) error) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for handle(in, conn) == nil {
				}
			}()
		}
	}()
	return l.Addr().String()
}

// sameAsPostfix compares answers, failures and warnings for each key by itself.
func sameAsPostfix(t *testing.T, spec string, keys []string) {
	t.Helper()
	for _, key := range keys {
		cmd := exec.Command("postmap", "-q", key, spec)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if _, failed := err.(*exec.ExitError); err != nil && !failed {
			t.Fatalf("postmap: %v: run test/install-packages", err)
		}
		var want []string
		failed := false
		for line := range strings.Lines(errs.String()) {
			if _, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "warning: "); ok && !strings.HasPrefix(text, "table "+spec+": key") && !strings.Contains(text, "should return NO RESULT") {
				want = append(want, text)
			}
			failed = failed || strings.Contains(line, "fatal: ")
		}
		var w warnings
		table, err := Open(spec, w.options())
		if err != nil {
			t.Fatal(err)
		}
		value, found, err := table.Lookup(context.Background(), key)
		Close(table)
		if value != strings.TrimSuffix(string(out), "\n") || found != (len(out) > 0) || (err != nil) != failed {
			t.Errorf("%s: %q gives %q, %v, %v; Postfix %q, failed %v", spec, key, value, found, err, out, failed)
		}
		if got := strings.Join(w.lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("%s: %q: warnings\n%s\nPostfix:\n%s", spec, key, got, strings.Join(want, "\n"))
		}
	}
}

// A scripted server answers in all the ways of tcp_table(5), and in wrong ones.
func TestTCP(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"get found": "200 value", "get Case": "200 CASE", "get two%20words": "200 some%20value%25", "get none": "500 not here",
		"get empty": "200 ", "get temp": "400 later", "get bad": "700 what", "get short": "20", "get text": "hello there", "get hex": "200 %zz", "get half": "200 %4",
	}
	addr := serve(t, "tcp", "127.0.0.1:0", func(in *bufio.Reader, out io.Writer) error {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n", answers[strings.TrimSuffix(line, "\n")])
		return err
	})
	sameAsPostfix(t, "tcp:"+addr, []string{"found", "Case", "two words", "none", "empty", "temp", "bad", "short", "text", "hex", "half"})
}

// A server that cannot be reached, or hangs up, is asked again some times, and then the lookup fails.
func TestTCPServerGone(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	addr := serve(t, "tcp", "127.0.0.1:0", func(in *bufio.Reader, out io.Writer) error {
		if tries.Add(1) < 3 {
			return io.EOF
		}
		if _, err := in.ReadString('\n'); err != nil {
			return err
		}
		_, err := io.WriteString(out, "200 at last\n")
		return err
	})
	var w warnings
	table, err := Open("tcp:"+addr, w.options())
	if err != nil {
		t.Fatal(err)
	}
	table.(*tcpTable).pause = time.Millisecond
	if value, found, err := table.Lookup(context.Background(), "a"); value != "at last" || !found || err != nil {
		t.Errorf("%q, %v, %v", value, found, err)
	}
	if len(w.lines) != 2 {
		t.Errorf("warnings: %q", w.lines)
	}
	w = warnings{}
	table, err = Open("tcp:127.0.0.1:1", w.options())
	if err != nil {
		t.Fatal(err)
	}
	table.(*tcpTable).pause = time.Millisecond
	if _, found, err := table.Lookup(context.Background(), "a"); found || err == nil {
		t.Errorf("no server: %v, %v", found, err)
	}
	if len(w.lines) != tcpAttempts || w.lines[0] != "connect to TCP map 127.0.0.1:1: Connection refused" {
		t.Errorf("warnings: %q", w.lines)
	}
}

// A scripted server answers in all the ways of socketmap_table(5), and in wrong ones.
func TestSocketmap(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"m found": "OK value", "m Case": "OK CASE", "m two words": "OK a b", "m none": "NOTFOUND ", "m empty": "OK ", "m temp": "TEMP later", "m timeout": "TIMEOUT slow",
		"m perm": "PERM never", "m bad": "WHAT ever", "m nothing": "", "m tempty": "TEMP ",
	}
	handle := func(in *bufio.Reader, out io.Writer) error {
		request, err := readNetstring(in, 10000)
		if err != nil {
			return err
		}
		switch answer := answers[request]; request {
		case "m raw":
			_, err = io.WriteString(out, "hello there\n")
		case "m long":
			_, err = io.WriteString(out, "200000:")
		case "m comma":
			_, err = io.WriteString(out, "4:OK x;")
		case "m eof":
			return io.EOF
		default:
			_, err = fmt.Fprintf(out, "%d:%s,", len(answer), answer)
		}
		return err
	}
	keys := []string{"found", "Case", "two words", "none", "empty", "temp", "timeout", "perm", "bad", "tempty"}
	sameAsPostfix(t, "socketmap:inet:"+serve(t, "tcp", "127.0.0.1:0", handle)+":m", keys)
	spec := "socketmap:unix:" + serve(t, "unix", filepath.Join(t.TempDir(), "socket"), handle) + ":m"
	sameAsPostfix(t, spec, keys[:4])
	for _, key := range []string{"raw", "long", "comma", "eof"} {
		var w warnings
		table, err := Open(spec, w.options())
		if err != nil {
			t.Fatal(err)
		}
		if _, found, err := table.Lookup(context.Background(), key); found || err == nil || len(w.lines) != 1 {
			t.Errorf("%s: %v, %v, %q", key, found, err, w.lines)
		}
	}
	for spec, want := range map[string]string{
		"socketmap:x": "socketmap requires server:socketmap argument", "socketmap:foo:m": `need service transport:endpoint instead of "foo"`,
		"socketmap:xx:127.0.0.1:1:m": "invalid transport name: xx in service: xx:127.0.0.1:1",
	} {
		if _, err := Open(spec, Options{}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
}

// Only tables of proxy_read_maps are lent.
func TestProxyNeedsApproval(t *testing.T) {
	main, err := postfix.Parse("", "virtual_alias_maps = proxy:inline:{a=1}\n")
	if err != nil {
		t.Fatal(err)
	}
	var w warnings
	o := w.options()
	o.Main = main
	table, err := Open("proxy:inline:{a=1}", o)
	if err != nil {
		t.Fatal(err)
	}
	if value, _, err := table.Lookup(context.Background(), "a"); value != "1" || err != nil {
		t.Errorf("%q, %v", value, err)
	}
	want := `proxymap service is not configured for table "inline:{a=2}"`
	if _, err := Open("proxy:inline:{a=2}", o); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if len(w.lines) != 2 || w.lines[0] != `request for unapproved table: "inline:{a=2}"` {
		t.Errorf("warnings: %q", w.lines)
	}
}

// Types that there will not be are refused with a word that says so.
func TestRefusedTypes(t *testing.T) {
	for _, typ := range []string{"nis", "nisplus", "dbm", "sdbm", "mongodb"} {
		_, err := Open(typ+":x", Options{})
		if err == nil || !strings.Contains(err.Error(), typ+" is not supported by Dovetail; use ") {
			t.Errorf("%s: %v", typ, err)
		}
		if err := Buildable(typ); err == nil || !strings.Contains(err.Error(), "is not supported by Dovetail") {
			t.Errorf("building %s: %v", typ, err)
		}
	}
}

// A debug table logs what another one answers.
func TestDebug(t *testing.T) {
	var w warnings
	table, err := Open("debug:inline:{a=1}", w.options())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if _, _, err := table.Lookup(context.Background(), key); err != nil {
			t.Fatal(err)
		}
	}
	want := `debug:inline:{a=1} lookup: "a" = "1"|debug:inline:{a=1} lookup: "b" = not_found`
	if got := strings.Join(w.lines, "|"); got != want {
		t.Errorf("logged %s", got)
	}
}

func FuzzNetstring(f *testing.F) {
	f.Add("5:OK ab,")
	f.Add("99999999999:")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readNetstring(bufio.NewReader(strings.NewReader(text)), 1000)
		if err == nil && len(got) > 1000 {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func FuzzClientConfig(f *testing.F) {
	f.Add("hosts = a b\nquery = SELECT '%s'\n  more\n")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := readClient(strings.NewReader(text), "file", func(string) {})
		if err != nil {
			return
		}
		q := querier{o: &Options{}, name: "file", resultFormat: values["result_format"]}
		if _, err := q.parse(values["query"], true); err != nil {
			return
		}
		if _, err := q.parse(q.resultFormat, false); err == nil {
			q.result(nil, values["value"], values["key"])
		}
		expand(values["query"], values["key"], quoteFilter)
	})
}

func FuzzPatterns(f *testing.F) {
	f.Add("^(a|[[:alpha:]]{2,3})+$", "imx", "Ab")
	f.Add(`a++(?=\d)`, "E", "aa1")
	f.Fuzz(func(t *testing.T, pattern, flags, key string) {
		for _, compile := range []func(string, string) (*expression, error){compilePOSIX, compilePCRE} {
			if e, err := compile(bytesAsRunes(pattern), flags); err == nil {
				e.match(key)
			}
		}
	})
}

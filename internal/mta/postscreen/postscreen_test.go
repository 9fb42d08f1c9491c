package postscreen

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

func TestStamps(t *testing.T) {
	for value, want := range map[string]string{
		"1;2;3;4;5":                      "1;2;3;4;5",
		"100;200":                        "100;200;1;1;1",
		"":                               "1;1;1;1;1",
		"x;-5;0;7;8":                     "1;1;0;7;8",
		"1;2;3;4;99999999999999999999;6": "1;2;3;4;1",
	} {
		s := parseStamps(value)
		if got := s.format(); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	s := parseStamps("100;1;0;300;1")
	if due, fresh := s.todo(earlyTests|setOf(nonSMTP), 200); due != earlyTests || !fresh {
		t.Errorf("due: %b, fresh: %v", due, fresh)
	}
}

func TestFilter(t *testing.T) {
	for pattern, addrs := range map[string][2]string{ // those that match, and those that do not
		"127.0.0.2":               {"127.0.0.2", "127.0.0.1 127.0.0.20 ::1"},
		"127.0.[0;2].[1..3;10]":   {"127.0.0.1 127.0.2.3 127.0.0.10", "127.0.1.1 127.0.0.4"},
		"[0..255].[0..255].1.255": {"1.2.1.255", "1.2.2.255"},
	} {
		f, err := parseFilter(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for i, want := range []bool{true, false} {
			for addr := range strings.FieldsSeq(addrs[i]) {
				if f.matches(netip.MustParseAddr(addr)) != want {
					t.Errorf("%s: %s: not %v", pattern, addr, want)
				}
			}
		}
	}
	for _, bad := range []string{"", "1.2.3", "1.2.3.4.5", "1.2.[3.4]", "1.2.3.3[6..9]", "1.2.3.256", "1.2.3.[4", "1.2.3.[]", "1.2.3.[5..4]", "1.2.3.-1", "1.2.3.[1;;2]"} {
		if _, err := parseFilter(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("127.0.[0;2].[1..10]")
	f.Add("1.2.[3.4]")
	f.Fuzz(func(t *testing.T, pattern string) {
		if p, err := parseFilter(pattern); err == nil {
			p.matches(netip.MustParseAddr("127.0.0.1"))
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{`<a@b>`, ` <@x,@y:"a\"b"@c> SIZE=1`, `bare x`, `<"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if got := address(path); len(got) > len(path) {
			t.Errorf("%q from %q", got, path)
		}
	})
}

func TestSites(t *testing.T) {
	lists, err := parseSites("a.example, b.example=127.0.0.[1..3]*2 a.example*-5")
	if err != nil || len(lists) != 2 || len(lists[0].sites) != 2 || lists[1].sites[0].weight != 2 {
		t.Errorf("%v %v", lists, err)
	}
	for _, bad := range []string{"a.example*x", "a.example=1.2.3", "-a-", "a.example=127.0.0.1*"} {
		if _, err := parseSites(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// An answer is good for as long as no list would say otherwise.
func TestScoreTTL(t *testing.T) {
	bad := &dnsList{domain: "bad.example", shown: "bad.example", sites: []dnsSite{{weight: 2}}}
	good := &dnsList{domain: "good.example", shown: "good.example", sites: []dnsSite{{weight: -1}}}
	listed := []netip.Addr{netip.MustParseAddr("127.0.0.2")}
	d := &dnsbl{minTTL: time.Minute, maxTTL: time.Hour}
	for _, tt := range []struct {
		name     string
		badList  []netip.Addr
		badTTL   time.Duration
		goodList []netip.Addr
		goodTTL  time.Duration
		want     verdict
	}{
		{"nowhere", nil, 10 * time.Minute, nil, 5 * time.Minute, verdict{0, "", 10 * time.Minute}},
		{"bad", listed, 7 * time.Minute, nil, 3 * time.Minute, verdict{2, "bad.example", 3 * time.Minute}},
		{"good", nil, 7 * time.Minute, listed, 3 * time.Minute, verdict{-1, "good.example", 3 * time.Minute}},
		{"both", listed, 7 * time.Minute, listed, 3 * time.Minute, verdict{1, "bad.example", 7 * time.Minute}},
		{"short", listed, time.Second, nil, time.Second, verdict{2, "bad.example", time.Minute}},
		{"long", nil, 3 * time.Hour, nil, 3 * time.Hour, verdict{0, "", time.Hour}},
		{"unknown", nil, unknownTTL, nil, unknownTTL, verdict{0, "", time.Minute}},
	} {
		sc := &score{passTTL: unknownTTL, failTTL: unknownTTL}
		sc.count(bad, tt.badList, tt.badTTL)
		sc.count(good, tt.goodList, tt.goodTTL)
		if got := d.verdict(sc); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// testLog is a log that is thrown away.
func testLog(t *testing.T) *maillog.Logger {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	sink := maillog.NewFile(f, maillog.Postfix, "mail")
	t.Cleanup(sink.Close)
	return maillog.New(sink, "postfix/postscreen[1]")
}

// What is remembered is there after a restart, and dropped when it is too old.
func TestCacheTable(t *testing.T) {
	for _, typ := range []string{"btree", "lmdb", "hash"} {
		t.Run(typ, func(t *testing.T) {
			spec := typ + ":" + filepath.Join(t.TempDir(), "cache")
			now := time.Unix(2_000_000_000, 0)
			until := func(d time.Duration) stamps { return stamps{now.Add(d).Unix(), now.Add(d).Unix(), 1, 1, 1} }
			c := NewCache(spec, testLog(t))
			c.now = func() time.Time { return now }
			c.keep.Store(&retention{enabled: earlyTests, time: 24 * time.Hour})
			fresh, old := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
			c.update(fresh, until(time.Hour))
			c.update(old, until(-48*time.Hour))
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			c.Run(ctx)
			again := NewCache(spec, testLog(t))
			again.now = c.now
			again.keep.Store(c.keep.Load())
			for addr, want := range map[netip.Addr]stamps{fresh: until(time.Hour), old: until(-48 * time.Hour)} {
				if got, ok := again.lookup(addr); !ok || got != want {
					t.Errorf("%s: %v %v, want %v", addr, got, ok, want)
				}
			}
			again.clean()
			if _, ok := again.lookup(old); ok {
				t.Error("an old entry is kept")
			}
			if _, ok := again.lookup(fresh); !ok {
				t.Error("a fresh entry is dropped")
			}
		})
	}
}

// More clients than postscreen_pre_queue_limit are sent away, and time limits become short before.
func TestStress(t *testing.T) {
	o := startServer(t, "postscreen_pre_queue_limit = 10\npostscreen_greet_wait = ${stress?{1}:{50}}s\nmynetworks = 127.0.0.9\n", nil)
	var conns []net.Conn
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", o.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		return conn
	}
	for range 9 {
		conn := dial("127.0.0.1")
		io.ReadFull(conn, make([]byte, len("220-mail.example.com ESMTP Postfix\r\n"))) // it is in
		conns = append(conns, conn)
	}
	if b, _ := io.ReadAll(dial("127.0.0.1")); string(b) != "421 4.3.2 All screening ports are busy\r\n" {
		t.Errorf("the tenth client: %q", b)
	}
	// A client that needs no test is served all the same.
	known := dial("127.0.0.9")
	io.WriteString(known, "QUIT\r\n")
	if b, _ := io.ReadAll(known); string(b) != "220 mail.example.com ESMTP Postfix\r\n221 2.0.0 Bye\r\n" {
		t.Errorf("a client that is allowed: %q", b)
	}
	for _, conn := range conns {
		conn.Close()
	}
	o.stop()
	log := o.logged(t)
	for _, want := range []string{"entering STRESS mode with 9 connections\n", "leaving STRESS mode with ", "all screening ports busy\n", "ALLOWLISTED [127.0.0.9]:"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// Behind a proxy, the client is who the proxy says; a proxy that does not tell is not served.
func TestHAProxy(t *testing.T) {
	o := startServer(t, "postscreen_upstream_proxy_protocol = haproxy\n", nil)
	for _, tt := range []struct{ header, answer, log string }{
		{"PROXY TCP4 192.0.2.7 198.51.100.1 5555 25\r\n", "220 mail.example.com ESMTP Postfix\r\n221 2.0.0 Bye\r\n",
			"CONNECT from [192.0.2.7]:5555 to [198.51.100.1]:25\nALLOWLISTED [192.0.2.7]:5555\n"},
		{"PROXY UNKNOWN\r\n", "", "warning: haproxy read: bad or missing protocol type: PROXY UNKNOWN\\r\\n\n"},
		{"EHLO client\r\n", "", "warning: haproxy read: "},
	} {
		conn, err := net.Dial("tcp", o.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		io.WriteString(conn, tt.header+"QUIT\r\n")
		if b, _ := io.ReadAll(conn); string(b) != tt.answer {
			t.Errorf("%q: %q", tt.header, b)
		}
		if log := o.logged(t); !strings.Contains(log, tt.log) {
			t.Errorf("%q: no %q in\n%s", tt.header, tt.log, log)
		}
	}
}

// A client that passes after a wait longer than a reply may take is served for as long as it
// likes: what the tests allowed to reading and writing is not for the SMTP server.
func TestLongWait(t *testing.T) {
	t.Parallel()
	o := startServer(t, "postscreen_greet_wait = 6s\n", nil) // the default
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.7")}}
	conn, err := d.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	const teaser, greeting = "220-mail.example.com ESMTP Postfix\r\n", "220 mail.example.com ESMTP Postfix\r\n"
	b := make([]byte, len(teaser+greeting))
	if n, err := io.ReadFull(conn, b); string(b[:n]) != teaser+greeting {
		t.Fatalf("greeted with %q, %v\n%s", b[:n], err, o.logged(t))
	}
	io.WriteString(conn, "QUIT\r\n")
	if b, err := io.ReadAll(conn); string(b) != "221 2.0.0 Bye\r\n" {
		t.Errorf("QUIT is answered %q, %v", b, err)
	}
}

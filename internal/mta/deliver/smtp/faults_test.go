package smtp

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// faultFiles are tables of what can go wrong with a next hop, and with the DNS. A case is a section: its
// name, "script" lines of the server, "main.cf" and "mail" lines as in a dialogue, and what comes of it:
// "alone" where the server is the only one, "backup" where the domain has a second MX host that is
// well. Cases with lines "dns" and "dns-faults" have records of their own: DOMAIN is the case's domain, first and
// second are the servers; a record that begins with a number is there as often, with its number in place of #. The
// results are what the real Postfix logs, which TestFaultsPostfix checks and -record writes; where this package does
// something else, and why, is in lines "ours" and "because".
var faultFiles = []string{"testdata/faults.txtar", "testdata/dns.txtar"}

// A fault is one case, with and without a second server.
type fault struct {
	*dialogue
	kind    string  // alone or backup
	ours    outcome // where it is another than Postfix's
	section *txtar.File
}

func readFaults(t testing.TB) ([]fault, []*txtar.Archive) {
	t.Helper()
	var all []fault
	var archives []*txtar.Archive
	for _, file := range faultFiles {
		arc, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, arc)
		for i := range arc.Files {
			section := &arc.Files[i]
			lines := make(map[string]string)
			for line := range strings.Lines(string(section.Data)) {
				key, value, _ := strings.Cut(line, " ")
				lines[key] += value
			}
			d := faultDialogue(t, "alone-"+section.Name, lines, lines["alone"], "")
			all = append(all, fault{d, "alone", outcomeOf(lines["ours"]), section})
			// Where we differ, a second server says no more.
			if lines["dns"]+lines["dns-faults"]+lines["ours"] == "" {
				d := faultDialogue(t, "backup-"+section.Name, lines, lines["backup"], "backup")
				all = append(all, fault{d, "backup", outcome{}, section})
			}
		}
	}
	return all, archives
}

// faultDialogue makes a dialogue of a case.
func faultDialogue(t testing.TB, name string, lines map[string]string, want, second string) *dialogue {
	t.Helper()
	domain := name + ".test."
	zone := "DOMAIN IN MX 10 first\n"
	if second != "" {
		zone += "DOMAIN IN MX 20 second\n"
	}
	if lines["dns"]+lines["dns-faults"] != "" {
		zone = lines["dns"]
	}
	zone = faultZone(zone+"first IN A 127.0.0.1\nsecond IN A 127.0.0.2\n", domain)
	result := outcomeOf(want)
	d := &dialogue{name: name, arc: new(txtar.Archive)}
	for section, text := range map[string]string{
		"server": lines["script"], "main.cf": faultConfig + lines["main.cf"], "dns": zone, "dns-faults": faultZone(lines["dns-faults"], domain),
		"result": result.Result, "log": result.Log,
	} {
		d.set(section, text)
	}
	d.read(t, lines["mail"])
	d.nexthop = strings.ReplaceAll(d.nexthop, "DOMAIN", strings.TrimSuffix(domain, "."))
	return d
}

// outcomeOf reads lines of results and of the log.
func outcomeOf(text string) (o outcome) {
	for line := range strings.Lines(text) {
		if kind, rest, _ := strings.Cut(line, " "); kind == "log" {
			o.Log += rest
		} else {
			o.Result += line
		}
	}
	return o
}

var (
	relativeName = regexp.MustCompile(`\b(first|second)\b`)
	repeated     = regexp.MustCompile(`^(\d+) (.*\n)`)
)

// faultZone makes a zone text complete.
func faultZone(text, domain string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		n := 1
		if m := repeated.FindStringSubmatch(line); m != nil {
			n, _ = strconv.Atoi(m[1])
			line = m[2]
		}
		line = strings.ReplaceAll(relativeName.ReplaceAllString(line, "$1.DOMAIN"), "DOMAIN", domain)
		for i := range n {
			b.WriteString(strings.ReplaceAll(line, "#", strconv.Itoa(i)))
		}
	}
	return b.String()
}

// Time limits are short for those that are waited for.
const faultConfig = `smtp_randomize_addresses = no
smtp_helo_timeout = 1s
smtp_starttls_timeout = 1s
smtp_mail_timeout = 1s
smtp_rcpt_timeout = 1s
smtp_data_init_timeout = 1s
smtp_data_xfer_timeout = 1s
smtp_data_done_timeout = 1s
smtp_rset_timeout = 1s
smtp_quit_timeout = 1s
`

// bigMessage does not fit into the buffers of a connection.
var bigMessage = "Subject: big\nFrom: sender@example.org\n\n" + strings.Repeat(strings.Repeat("x", 75)+"\n", 100_000)

var (
	manyX          = regexp.MustCompile("x{50,}")
	encodedX       = regexp.MustCompile("[A-Za-z0-9]{300,}=*")
	libraryProblem = regexp.MustCompile("(TLS library problem: ).*")
)

// brief is what the table has of an outcome.
func (d *dialogue) brief(o outcome) outcome {
	tidy := func(text string) string {
		var lines []string
		for line := range strings.Lines(strings.NewReplacer("."+d.domain(), "", d.domain(), "DOMAIN").Replace(text)) {
			if len(line) > 1000 { // Postfix writes no longer lines into its log
				line = line[:1000] + "\n"
			}
			lines = append(lines, line)
		}
		text = libraryProblem.ReplaceAllString(strings.Join(lines, ""), "$1...")
		text = encodedX.ReplaceAllString(text, "...")
		return manyX.ReplaceAllStringFunc(text, func(x string) string { return fmt.Sprintf("x{%d}", len(x)) })
	}
	return outcome{Result: tidy(o.Result), Log: tidy(o.Log)}
}

// TestFaults has each case with this package, many at once: most of the time they wait.
func TestFaults(t *testing.T) {
	dialogues, _ := readFaults(t)
	got := make([]outcome, len(dialogues))
	var work sync.WaitGroup
	room := make(chan struct{}, 40)
	for i, d := range dialogues {
		work.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			got[i] = d.brief(d.stage(t).play(t))
		})
	}
	work.Wait()
	for i, d := range dialogues {
		want := d.want()
		if d.ours != (outcome{}) {
			want = d.ours
		}
		if diff := cmp.Diff(want, got[i]); diff != "" {
			t.Errorf("%s: -want +got\n%s", d.name, diff)
		}
	}
}

// TestFaultsPostfix shows that the table says what Postfix does.
func TestFaultsPostfix(t *testing.T) {
	needPostfix(t)
	all, archives := readFaults(t)
	var dialogues []*dialogue
	for _, f := range all {
		dialogues = append(dialogues, f.dialogue)
	}
	p := startPostfix(t, dialogues)
	for i, f := range all {
		got := f.brief(p.outcome(t, i))
		if *record {
			f.section.Data = f.recorded(got)
		} else if diff := cmp.Diff(f.want(), got); diff != "" {
			t.Errorf("%s: -want +got\n%s", f.name, diff)
		}
	}
	for i, arc := range archives {
		if !*record {
			break
		}
		if err := os.WriteFile(faultFiles[i], txtar.Format(arc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// recorded is the section with another outcome.
func (f *fault) recorded(got outcome) []byte {
	lines := slices.Collect(strings.Lines(string(f.section.Data)))
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.HasPrefix(line, f.kind+" ") || strings.TrimSpace(line) == ""
	})
	for line := range strings.Lines(got.Result) {
		lines = append(lines, f.kind+" "+line)
	}
	for line := range strings.Lines(got.Log) {
		lines = append(lines, f.kind+" log "+line)
	}
	return []byte(strings.Join(lines, "") + "\n")
}

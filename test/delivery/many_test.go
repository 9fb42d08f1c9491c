package delivery

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// TestManyMembers delivers to a list of many addresses on other systems, in little
// memory.
func TestManyMembers(t *testing.T) {
	const (
		members   = 100000
		maxMemory = 300 << 10 // KB
	)
	dir := harness.Dir(t)
	var list strings.Builder
	for n := range members {
		fmt.Fprintf(&list, "user%d@remote.test\n", n)
	}
	harness.Write(t, filepath.Join(dir, "list"), list.String())
	harness.Write(t, filepath.Join(dir, "aliases"), "all :include:"+dir+"/list\n")
	chmod(t, filepath.Join(dir, "list"), 0o600) // for root only
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{
		Main: "mydestination = local.test\nlocal_recipient_maps =\nalias_maps = texthash:" + dir + "/aliases\n",
	})
	lastOnly(t, filepath.Join(tr.Config, "main.cf"))
	tr.Start(t)
	quiet(t, tr, send(t, tr, &message{to: "<all@local.test>"}))
	if n := strings.Count(read(t, tr.Log), "@remote.test>, orig_to=<all@local.test>, relay=none"); n != members {
		t.Errorf("%d of %d members got the message", n, members)
	}
	peak := harness.Status(tr.Child(t, "postfix/mta"), "VmHWM")
	if kb, err := strconv.Atoi(strings.Fields(peak + " ?")[0]); err != nil || kb > maxMemory {
		t.Errorf("the mta used %s", peak)
	}
}

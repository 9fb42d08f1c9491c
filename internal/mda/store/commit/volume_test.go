package commit

import (
	"os"
	"testing"
)

func TestOrderedExt4(t *testing.T) {
	const begin = "rw\nbsddf\ndelalloc\nbarrier\n"
	for _, tt := range []struct {
		name, options string
		want          bool
	}{
		{"default", begin + "data=ordered\ninode_readahead_blks=32\n", true},
		{"no journal, ext2", begin + "inode_readahead_blks=32\n", false},
		{"data=writeback", begin + "data=writeback\n", false},
		{"data=journal", begin + "data=journal\n", false},
		{"journal_async_commit", begin + "journal_async_commit\ndata=ordered\n", false},
		{"fast commits, kernel that tells", begin + "fc_debug_force\ndata=ordered\n", false},
		{"empty", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ext4Ordered([]byte(tt.options)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestNoFastCommits(t *testing.T) {
	for _, tt := range []struct {
		name, info string
		want       bool
	}{
		{"none", "fc stats:\n0 commits\n0 ineligible\n0 numblks\n0us avg_commit_time\nIneligible reasons:\n\"Resize\":\t0\n", true},
		{"some", "fc stats:\n3 commits\n0 ineligible\n", false},
		{"attempts only", "fc stats:\n0 commits\n1 ineligible\n", false},
		{"another format", "fc stats:\n0 fast commits\n", false},
		{"no numbers", "fc stats:\n- commits\n- ineligible\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := noFastCommits([]byte(tt.info)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// A volume that has to be watched first is not ordered before.
func TestVolumeDecidesLater(t *testing.T) {
	v := &Volume{decide: func() bool { return true }}
	for n := range enough {
		if v.Ordered() {
			t.Fatalf("ordered after %d flushes", n)
		}
		v.Flushed()
	}
	if !v.Ordered() {
		t.Error("not ordered after enough flushes")
	}
}

func TestVolumeOfSeveral(t *testing.T) {
	open := func(path string) int {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	a, b, proc := open(t.TempDir()), open(t.TempDir()), open("/proc")
	if v := VolumeOf(a, b); v == nil || v != VolumeOf(a) {
		t.Error("two directories of one file system have different volumes")
	}
	if v := VolumeOf(a, proc); v != nil || v.Ordered() {
		t.Error("directories of two file systems have one volume")
	}
	if v := VolumeOf(proc); v.Ordered() {
		t.Error("/proc counts as ordered")
	}
}

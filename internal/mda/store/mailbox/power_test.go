package mailbox

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"

	"github.com/dovetail-mail/dovetail/internal/mda/store/crashdisk"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

var powerFailures = flag.Int("powerfailures", 8, "how many power failures to try per file system")

// TestPowerFailure saves, copies and expunges messages in many sessions, while
// somebody else has the file system commit its journal at odd moments, and cuts the
// power: after the kernel has replayed the journal, each message that was reported
// as saved is there, once, and none that is there lacks text.
//
// In an mbox, as with Dovecot, a message that was being appended, and not acknowledged, may be there in part.
func TestPowerFailure(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount file systems")
	}
	ext4 := []string{"mkfs.ext4", "-q", "-F", "-J", "size=4"}
	xfs := []string{"mkfs.xfs", "-q", "-l", "size=64m"}
	for _, tt := range []struct {
		name    string
		format  string
		mkfs    []string
		options string
		fsync   string
		ordered bool // whether the shorter way of flushing is taken
		loses   bool
		journal bool
	}{
		{"ext4", "", ext4, "", "optimized", true, false, false},
		{"ext4, blocks of 1 KB, no delayed allocation", "", append(slices.Clone(ext4), "-b", "1024"), "nodelalloc", "optimized", true, false, false},
		{"ext4, always", "", ext4, "", "always", false, false, false},
		{"ext4, data=writeback", "", ext4, "data=writeback", "optimized", false, false, false},
		{"XFS", "", xfs, "nouuid", "optimized", false, false, false},
		{"mdbox, ext4", "mdbox", ext4, "", "optimized", true, false, false},
		{"mdbox, ext4, blocks of 1 KB, no delayed allocation", "mdbox", append(slices.Clone(ext4), "-b", "1024"), "nodelalloc", "optimized", true, false, false},
		{"mdbox, ext4, data=writeback", "mdbox", ext4, "data=writeback", "optimized", false, false, false},
		{"mdbox, XFS", "mdbox", xfs, "nouuid", "optimized", false, false, false},
		{"Maildir, ext4", "maildir", ext4, "", "optimized", false, false, false},
		{"Maildir, ext4, data=writeback", "maildir", ext4, "data=writeback", "optimized", false, false, false},
		{"Maildir, XFS", "maildir", xfs, "nouuid", "optimized", false, false, false},
		{"journal, ext4", "", ext4, "", "optimized", true, false, true},
		{"journal, ext4, data=writeback", "", ext4, "data=writeback", "optimized", false, false, true},
		{"journal, XFS", "", xfs, "nouuid", "optimized", false, false, true},
		{"journal, mdbox, ext4", "mdbox", ext4, "", "optimized", true, false, true},
		{"journal, mdbox, ext4, data=writeback", "mdbox", ext4, "data=writeback", "optimized", false, false, true},
		{"journal, mdbox, XFS", "mdbox", xfs, "nouuid", "optimized", false, false, true},
		{"mbox, ext4", "mbox", ext4, "", "optimized", false, false, false},
		{"mbox, XFS", "mbox", xfs, "nouuid", "optimized", false, false, false},
		// That what is never flushed gets lost shows that the test can see it.
		{"ext4, never", "", ext4, "", "never", false, true, false},
		{"XFS, never", "", xfs, "nouuid", "never", false, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host, err := crashdisk.NewHost(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := host.Close(); err != nil {
					t.Error(err)
				}
			})
			size := int64(64 << 20)
			if tt.mkfs[0] == "mkfs.xfs" {
				size = 320 << 20 // the least there is
			}
			disk, err := host.NewDisk(size, tt.mkfs...)
			if err != nil {
				t.Fatal(err)
			}
			p := &powerTest{t: t, disk: disk, format: tt.format, options: tt.options, journal: tt.journal, settings: Settings{Fsync: tt.fsync, RotateMax: 4 << 10, MdboxRotateSize: 1 << 20}}
			setMbox(&p.settings)
			p.save(tt.ordered)
			lost := 0
			r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
			for _, at := range p.moments(r) {
				lost += p.fail(at, r)
			}
			if lost > 0 != tt.loses {
				t.Errorf("%d messages were lost", lost)
			}
		})
	}
}

// A powerTest is messages saved on one disk.
type powerTest struct {
	t        *testing.T
	disk     *crashdisk.Disk
	format   string
	options  string
	journal  bool
	settings Settings

	begin int // position of the disk when all mailboxes existed
	mu    sync.Mutex
	saved []savedMessage
}

// A savedMessage was reported as saved, or copied, when the disk had seen so many
// events.
type savedMessage struct {
	mailbox string
	text    string
	at      int
	mayGo   int // when it began to be expunged
}

const never = 1 << 62

const (
	powerBoxes    = 6
	powerSessions = 8
	powerMessages = 50 // per session
)

// world is where the mailboxes are on a mounted disk. Every other one has its
// index elsewhere on it.
func (p *powerTest) world(root string) *world {
	log := maillog.NewFunc(func(_ maillog.Level, text string) { p.t.Log(text) })
	w := &world{t: p.t, root: root, format: p.format, pool: NewPool(log), set: p.settings}
	if p.journal {
		w.pool.journals.top = root
	}
	return w
}

// restarted has the journals below root say that they were written before the computer was restarted.
func (p *powerTest) restarted(root string) {
	files, err := filepath.Glob(filepath.Join(root, journal.DirName, "*.[01]"))
	if err != nil || len(files) == 0 {
		return // the power failed before there was one
	}
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			p.t.Fatal(err)
		}
		b := make([]byte, 44)
		if _, err = f.ReadAt(b, 0); err == nil {
			b[24]++ // of the boot's id
			binary.LittleEndian.PutUint32(b[40:], crc32.Checksum(b[:40], crc32.MakeTable(crc32.Castagnoli)))
			_, err = f.WriteAt(b, 0)
		}
		if err := errors.Join(err, f.Close()); err != nil && !errors.Is(err, io.EOF) {
			p.t.Fatal(err)
		}
	}
}

func powerLoc(w *world, n int) Location {
	if w.format == "mdbox" { // of two users
		user := filepath.Join(w.root, fmt.Sprint("user", n%2))
		loc := mdboxLoc(user, fmt.Sprint(n))
		if n%2 == 1 {
			loc.Storage.IndexDir = filepath.Join(user, "index")
			loc.IndexDir = filepath.Join(loc.Storage.IndexDir, "mailboxes", loc.Name)
		}
		return loc
	}
	loc := w.loc(fmt.Sprint(n))
	if n%2 == 1 && w.format != "mbox" {
		loc.IndexDir = filepath.Join(w.root, "index", loc.Name)
	}
	return loc
}

// save saves the messages and unmounts the disk.
func (p *powerTest) save(ordered bool) {
	root, err := p.disk.Mount(p.options)
	if err != nil {
		p.t.Fatal(err)
	}
	defer p.unmount(p.disk)
	w := p.world(root)
	defer w.pool.Close()
	if p.journal {
		w.pool.UseJournals()
	}
	for n := range powerBoxes {
		if err := w.pool.Create(ctx, powerLoc(w, n), &w.set, Identity{}); err != nil {
			p.t.Fatal(err)
		}
	}
	unix.Sync()
	p.begin = p.disk.Position()
	var over atomic.Bool
	var sessions, others sync.WaitGroup
	others.Go(func() { disturb(p.t, root, &over) })
	for n := range powerSessions {
		sessions.Go(func() { p.session(w, n) })
	}
	sessions.Wait()
	over.Store(true)
	others.Wait()
	m, err := w.pool.Open(ctx, powerLoc(w, 0), &w.set)
	if err != nil {
		p.t.Fatal(err)
	}
	if m.b.volume != nil && m.b.volume.Ordered() != ordered {
		p.t.Errorf("the volume counts as ordered: %v, want %v", !ordered, ordered)
	}
	m.Close()
}

// disturb changes and flushes files that have nothing to do with mail.
func disturb(t *testing.T, root string, over *atomic.Bool) {
	f, err := os.Create(filepath.Join(root, "other"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for n := 0; !over.Load(); n++ {
		f.WriteString("other\n")
		switch n % 8 {
		case 0:
			unix.Syncfs(int(f.Fd()))
		case 1, 2, 3, 4:
			f.Sync()
		default: // write back, but make nothing durable
			logs, _ := filepath.Glob(filepath.Join(root, "*/*/dbox-Mails/*.log"))
			for _, name := range logs {
				if l, err := os.Open(name); err == nil {
					unix.SyncFileRange(int(l.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
					l.Close()
				}
			}
		}
		time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
	}
}

// session saves messages, copies some, and expunges others.
func (p *powerTest) session(w *world, number int) {
	r := rand.New(rand.NewPCG(2, uint64(number)))
	for i := range powerMessages {
		n := r.IntN(powerBoxes)
		text := fmt.Sprintf("Subject: %d.%d\n\n%s\n", number, i, strings.Repeat(fmt.Sprintf("%x ", r.Uint64()), r.IntN(1500)))
		if err := p.message(w, n, (n+1)%powerBoxes, i, text); err != nil {
			p.t.Error(err)
			return
		}
	}
}

func (p *powerTest) message(w *world, from, to, i int, text string) error {
	src, err := w.pool.Open(ctx, powerLoc(w, from), &w.set)
	if err != nil {
		return err
	}
	defer src.Close()
	uid, err := saveText(src, text)
	if err != nil {
		return err
	}
	n := p.reported(from, text)
	if i%4 == 0 {
		dst, err := w.pool.Open(ctx, powerLoc(w, to), &w.set)
		if err != nil {
			return err
		}
		defer dst.Close()
		if _, err := src.Copy(ctx, []uint32{uid}, dst); err != nil {
			return err
		}
		p.reported(to, text)
	}
	if i%5 == 0 {
		p.expunging(n)
		return src.Expunge(ctx, []uint32{uid})
	}
	return nil
}

// reported notes that a message is said to be in a mailbox.
func (p *powerTest) reported(mailbox int, text string) int {
	at := p.disk.Position()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved = append(p.saved, savedMessage{fmt.Sprint(mailbox), text, at, never})
	return len(p.saved) - 1
}

func (p *powerTest) expunging(n int) {
	at := p.disk.Position()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved[n].mayGo = at
}

func saveText(m *Mailbox, text string) (uid uint32, err error) {
	s, err := m.Save(ctx, SaveOptions{})
	if err != nil {
		return 0, err
	}
	defer s.Abort()
	if _, err := io.WriteString(s, text); err != nil {
		return 0, err
	}
	result, err := s.Commit(ctx)
	return result.UID, err
}

// moments chooses when the power fails: half of the times just when a message has
// been reported as saved.
func (p *powerTest) moments(r *rand.Rand) []int {
	var all []int
	for n := range *powerFailures {
		if n%2 == 0 {
			all = append(all, p.saved[r.IntN(len(p.saved))].at)
		} else {
			all = append(all, p.begin+r.IntN(p.disk.Position()-p.begin))
		}
	}
	slices.Sort(all)
	return all
}

// fail looks at what a power failure leaves, and returns how many messages are
// lost.
func (p *powerTest) fail(at int, r *rand.Rand) (lost int) {
	disk := p.disk.Crash(at, r)
	defer disk.Discard()
	root, err := disk.Mount(p.options)
	if err != nil {
		p.t.Fatal(err)
	}
	defer p.unmount(disk)
	// The dotlocks name this process, which still lives.
	locks, _ := filepath.Glob(filepath.Join(root, "*.lock"))
	for _, name := range locks {
		os.Remove(name)
	}
	if p.journal {
		p.restarted(root)
	}
	w := p.world(root)
	defer w.pool.Close()
	found := make(map[string]int) // mailbox and text
	for n := range powerBoxes {
		for _, text := range p.texts(w, powerLoc(w, n)) {
			found[fmt.Sprint(n)+" "+text]++
		}
	}
	for _, s := range p.saved {
		key := s.mailbox + " " + s.text
		if found[key] > 1 || found[key] == 0 && s.at <= at && at < s.mayGo {
			lost++
			p.t.Logf("event %d: message of event %d is there %d times: mailbox %s, %.20q", at, s.at, found[key], s.mailbox, s.text)
		}
		delete(found, key)
	}
	if p.settings.Fsync == "never" {
		return lost
	}
	for key := range found {
		if p.format == "mbox" && p.beingAppended(key, at) {
			continue
		}
		p.t.Errorf("event %d: nobody has sent what is in mailbox %.60q (%d bytes)", at, key, len(key)-2)
	}
	return lost
}

// beingAppended tells whether what is in a mailbox is nothing but a part of a message that was not yet reported as
// saved there.
func (p *powerTest) beingAppended(key string, at int) bool {
	mailbox, text, _ := strings.Cut(key, " ")
	has := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' })
	for _, s := range p.saved {
		words := strings.Fields(s.text)[1:] // its number, and what is in it again and again
		for _, word := range words[:min(2, len(words))] {
			// The last one may be cut, as those that zeros follow are.
			if !slices.Contains(has[:max(len(has)-1, 0)], word) {
				continue
			}
			if s.mailbox == mailbox && s.at <= at || s.mailbox != mailbox && !p.comes(mailbox, s.text, at) {
				p.t.Logf("event %d: a part of message %s of event %d is in mailbox %s", at, words[0], s.at, mailbox)
				return false
			}
		}
	}
	return true
}

// comes tells whether a message was reported as saved in a mailbox, later than a moment.
func (p *powerTest) comes(mailbox, text string, at int) bool {
	return slices.ContainsFunc(p.saved, func(s savedMessage) bool { return s.mailbox == mailbox && s.text == text && s.at > at })
}

// texts reads all messages of a mailbox.
func (p *powerTest) texts(w *world, loc Location) (texts []string) {
	m, err := w.pool.Open(ctx, loc, &w.set)
	if err != nil {
		if p.settings.Fsync != "never" {
			p.t.Errorf("mailbox %s: %v", loc.Name, err)
		}
		return nil
	}
	defer m.Close()
	if p.format == "mbox" { // where messages are shows when they are read
		v, err := tryLook(m)
		if err != nil {
			p.t.Errorf("mailbox %s: %v", loc.Name, err)
		}
		return v.texts
	}
	snap := m.Snapshot()
	for i := range snap.Len() {
		text, err := readText(m, snap.UID(i))
		if errors.Is(err, ErrExpunged) {
			continue // found to be unfinished just now
		}
		if err != nil && p.settings.Fsync != "never" {
			p.t.Errorf("mailbox %s: message %d: %v", loc.Name, snap.UID(i), err)
		}
		texts = append(texts, text)
	}
	return texts
}

func (p *powerTest) unmount(d *crashdisk.Disk) {
	if err := d.Unmount(); err != nil {
		p.t.Error(err)
	}
}

func readText(m *Mailbox, uid uint32) (string, error) {
	msg, err := m.Message(uid)
	if err != nil {
		return "", err
	}
	b, err := msg.Open()
	if err != nil {
		return "", err
	}
	defer b.Close()
	text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	return string(text), err
}

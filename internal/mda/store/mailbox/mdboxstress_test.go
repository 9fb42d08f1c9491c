package mailbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestMdboxStress saves, copies and expunges in many sessions while others purge and
// rebuild, in this process and in Dovecot. Each message that a session has and did
// not expunge is there at the end, once, with its text; no other is.
func TestMdboxStress(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMdboxWorld(t)
	w.set.MdboxRotateSize = 20 << 10
	d := newDoveadm(t, w)
	boxes := []*Mailbox{w.create("INBOX"), w.create("B"), w.create("C")}
	var over atomic.Bool
	var sessions, others sync.WaitGroup
	var mu sync.Mutex
	want := map[string]int{} // mailbox and text
	for n := range 6 {
		sessions.Go(func() {
			s := &stressSession{t: t, boxes: boxes, r: rand.New(rand.NewPCG(1, uint64(n))), number: n}
			s.run(60)
			mu.Lock()
			defer mu.Unlock()
			for _, m := range s.own {
				want[m.box.b.loc.Name+" "+m.text]++
			}
		})
	}
	others.Go(func() {
		for n := 0; !over.Load(); n++ {
			if n%4 == 3 {
				if _, _, err := d.try("", "force-resync", "INBOX"); err != nil {
					t.Errorf("doveadm force-resync: %v", err)
				}
			} else if _, errs, err := d.try("", "purge"); err != nil {
				t.Errorf("doveadm purge: %v\n%s", err, errs)
			}
		}
	})
	others.Go(func() {
		for n := 0; !over.Load(); n++ {
			var err error
			if n%8 == 7 {
				err = storageOf(boxes[0]).Resync(ctx)
			} else {
				err = storageOf(boxes[0]).Purge(ctx)
			}
			if err != nil && !strings.Contains(err.Error(), "purge again") {
				t.Error(err)
			}
		}
	})
	sessions.Wait()
	over.Store(true)
	others.Wait()
	for _, m := range boxes {
		s, err := m.Sync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Len() {
			want[m.b.loc.Name+" "+text(t, m, s.UID(i))]--
		}
	}
	for key, n := range want {
		if n != 0 {
			t.Errorf("%.30q: %d times too few", key, n)
		}
	}
	if _, errs, err := d.try("", "force-resync", "INBOX"); err != nil || strings.Contains(errs, "Error") {
		t.Errorf("doveadm force-resync: %v\n%s", err, errs)
	}
}

// A stressSession is what one session does.
type stressSession struct {
	t      *testing.T
	boxes  []*Mailbox
	r      *rand.Rand
	number int
	own    []ownMessage
}

type ownMessage struct {
	box  *Mailbox
	uid  uint32
	text string
}

func (s *stressSession) run(steps int) {
	for n := range steps {
		box := s.boxes[s.r.IntN(len(s.boxes))]
		switch k := s.r.IntN(4); {
		case k == 0 && len(s.own) > 0:
			i := s.r.IntN(len(s.own))
			if err := s.own[i].box.Expunge(ctx, []uint32{s.own[i].uid}); err != nil {
				s.t.Error(err)
				return
			}
			s.own = append(s.own[:i], s.own[i+1:]...)
		case k == 1 && len(s.own) > 0:
			from := s.own[s.r.IntN(len(s.own))]
			r, err := from.box.Copy(ctx, []uint32{from.uid}, box)
			if err != nil || len(r.Dst) != 1 {
				s.t.Errorf("copy of %s %d: %v, %v", from.box.b.loc.Name, from.uid, r, err)
				return
			}
			s.own = append(s.own, ownMessage{box, r.Dst[0], from.text})
		default:
			text := fmt.Sprintf("Subject: %d.%d\n\n%s\n", s.number, n, strings.Repeat("x", s.r.IntN(3000)))
			s.own = append(s.own, ownMessage{box, save(s.t, box, text, SaveOptions{}).UID, text})
		}
	}
}

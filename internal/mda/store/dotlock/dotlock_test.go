package dotlock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var testOptions = Options{Timeout: 50 * time.Millisecond, Stale: time.Minute}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	l, err := Take(context.Background(), path, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(context.Background(), path, testOptions); !errors.Is(err, ErrTimeout) {
		t.Errorf("taken twice: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Take(ctx, path, Options{Timeout: time.Hour, Stale: time.Hour}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if err := l.Replace([]byte("new")); err != nil {
		t.Fatal(err)
	}
	l.Release()
	if text, err := os.ReadFile(path); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
	l, err = Take(context.Background(), path, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
	if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Release: %v", err)
	}
}

func TestStale(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const noProcess = "4194305:" // above every pid
	for _, c := range []struct {
		name, content string
		age           time.Duration
		broken        bool
	}{
		{"owner dead", noProcess + host, 3 * time.Second, true},
		{"owner dead, new", noProcess + host, time.Second, false},
		{"owner on another host", noProcess + "elsewhere", 3 * time.Second, false},
		{"owner on another host, old", noProcess + "elsewhere", 2 * time.Minute, true},
		{"owner lives", "1:" + host, 3 * time.Second, false},
		{"not written", "", 6 * time.Second, true},
		{"not written, new", "", time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			then := time.Now().Add(-c.age)
			err := os.WriteFile(path+".lock", []byte(c.content), 0o600)
			if err == nil {
				err = os.Chtimes(path+".lock", then, then)
			}
			if err != nil {
				t.Fatal(err)
			}
			l, err := Take(context.Background(), path, testOptions)
			if (err == nil) != c.broken {
				t.Fatalf("%v", err)
			}
			if err == nil {
				l.Release()
			}
		})
	}
}

// Of many who wait for a dead one's lock, one has it at a time.
func TestStaleForMany(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "file")
	var held atomic.Int32
	for range 50 {
		then := time.Now().Add(-time.Hour)
		err := os.WriteFile(path+".lock", []byte("4194305:"+host), 0o600)
		if err == nil {
			err = os.Chtimes(path+".lock", then, then)
		}
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				l, err := Take(context.Background(), path, Options{Timeout: time.Minute, Stale: time.Minute})
				if err != nil {
					t.Error(err)
					return
				}
				if n := held.Add(1); n != 1 {
					t.Errorf("%d have the lock", n)
				}
				runtime.Gosched()
				held.Add(-1)
				l.Release()
			})
		}
		wg.Wait()
	}
}

// A lock that another one took away is not given back.
func TestReleaseOfAnothers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	l, err := Take(context.Background(), path, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	// Made before the other is removed, so that it cannot have its inode.
	if err := os.WriteFile(path+".other", []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".other", path+".lock"); err != nil {
		t.Fatal(err)
	}
	l.Release()
	if text, err := os.ReadFile(path + ".lock"); err != nil || string(text) != "another" {
		t.Errorf("%q, %v", text, err)
	}
}

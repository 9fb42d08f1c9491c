package bdb

import (
	"bytes"
	"errors"
	"testing"
)

// A tree of several levels, with long keys and values, is read as it was written.
func TestBtreeRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 60, 5000} {
		list := records(n)
		var file bytes.Buffer
		if err := WriteBtree(&file, list); err != nil {
			t.Fatal(err)
		}
		r, err := NewBtree(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range list {
			if got, found, err := r.Lookup(rec.Key); err != nil || !found || !bytes.Equal(got, rec.Value) {
				t.Fatalf("%d records: Lookup(%.40q) = %.40q, %v, %v", n, rec.Key, got, found, err)
			}
		}
		var last []byte
		count := 0
		if err := r.Walk(func(key, value []byte) error {
			if bytes.Compare(last, key) >= 0 && count > 0 {
				t.Errorf("%.40q after %.40q", key, last)
			}
			last = bytes.Clone(key)
			count++
			return nil
		}); err != nil || count != len(list) {
			t.Errorf("%d records of %d: %v", count, len(list), err)
		}
	}
}

func FuzzBtree(f *testing.F) {
	for _, n := range []int{3, 300} {
		var file bytes.Buffer
		if err := WriteBtree(&file, records(n)); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes())
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := NewBtree(bytes.NewReader(content))
		if err != nil {
			return
		}
		r.Lookup([]byte("user1@example.com\x00"))
		n := 0
		r.Walk(func(key, value []byte) error {
			if n++; n > 10000 {
				return errors.New("enough")
			}
			return nil
		})
	})
}

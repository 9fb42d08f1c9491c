package lmdb

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func file(t testing.TB, records []Record) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, records); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func records(n int) (list []Record) {
	for i := range n {
		list = append(list, Record{Key: fmt.Appendf(nil, "%s%d", strings.Repeat("k", i%500), i), Value: bytes.Repeat([]byte("v"), i*7%9000)})
	}
	return list
}

// What is written is read again, whatever the number of levels.
func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 9, 300, 5000} {
		list := records(n)
		r, err := NewReader(bytes.NewReader(file(t, list)))
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range list {
			if got, found, err := r.Lookup(rec.Key); err != nil || !found || !bytes.Equal(got, rec.Value) {
				t.Fatalf("%d records: Lookup(%.40q) = %.40q, %v, %v", n, rec.Key, got, found, err)
			}
		}
		if _, found, err := r.Lookup([]byte("zz")); found || err != nil {
			t.Errorf("a missing key: %v, %v", found, err)
		}
	}
}

// A key that the format cannot hold is refused, as the library does.
func TestKeySize(t *testing.T) {
	for _, key := range []string{"", strings.Repeat("k", MaxKey+1)} {
		if err := Write(&bytes.Buffer{}, []Record{{Key: []byte(key)}}); !errors.Is(err, ErrKeySize) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(file(f, records(3)))
	f.Add(file(f, records(60)))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := NewReader(bytes.NewReader(content))
		if err != nil {
			return
		}
		r.Lookup([]byte("k1"))
		n := 0
		r.Walk(func(key, value []byte) error {
			if n++; n > 10000 {
				return errors.New("enough")
			}
			return nil
		})
	})
}

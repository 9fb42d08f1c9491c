package cdb

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// Values from the format's description.
func TestHashVectors(t *testing.T) {
	for key, want := range map[string]uint32{
		"": 0x1505, "a": 0x2b5c4, "a\x00": 0x596e44, "example.org": 0xe8b7c339, "alice@example.com\x00": 0x65a01e80,
	} {
		if got := Hash([]byte(key)); got != want {
			t.Errorf("Hash(%q) = %08x, want %08x", key, got, want)
		}
	}
}

func records(n int) (list []Record) {
	for i := range n {
		list = append(list, Record{Key: fmt.Appendf(nil, "key%d", i), Value: bytes.Repeat([]byte("v"), i%300)})
	}
	return list
}

func file(t testing.TB, list []Record) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 5000} {
		list := records(n)
		r, err := NewReader(bytes.NewReader(file(t, list)))
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		if err := r.Walk(func(key, value []byte) error {
			if !bytes.Equal(key, list[i].Key) || !bytes.Equal(value, list[i].Value) {
				t.Errorf("record %d is %q", i, key)
			}
			i++
			return nil
		}); err != nil || i != n {
			t.Errorf("%d records of %d: %v", i, n, err)
		}
		for _, rec := range list {
			if got, found, err := r.Lookup(rec.Key); err != nil || !found || !bytes.Equal(got, rec.Value) {
				t.Fatalf("Lookup(%q) = %.40q, %v, %v", rec.Key, got, found, err)
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(file(f, records(3)), "key1")
	f.Fuzz(func(t *testing.T, content []byte, key string) {
		r, err := NewReader(bytes.NewReader(content))
		if err != nil {
			return
		}
		r.Lookup([]byte(key))
		n := 0
		r.Walk(func(key, value []byte) error {
			if n++; n > 10000 {
				return errors.New("enough")
			}
			return nil
		})
	})
}

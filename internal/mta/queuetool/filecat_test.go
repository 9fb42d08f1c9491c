package queuetool

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// dropFile is a small file of the maildrop, with records that lead nowhere.
const dropFile = "S\x05a@b.cR\x03x@yM\x00N\x05A: bcN\x00L\x03abcp\x010w\x02  N\x02deX\x00R\x03z@wA\x16create_time=1000000000E\x00"

// Each line has its offset and type, and pieces of a line stand on their own.
func TestFileOffsets(t *testing.T) {
	var out, warnings strings.Builder
	v := &view{parts: parts{true, true, true}, offsets: true, types: true, w: bufio.NewWriter(&out), warn: func(string, ...any) { warnings.WriteString("warned") }}
	if err := v.file("name", strings.NewReader(strings.Replace(dropFile, "p\x010w\x02  ", "", 1))); err != nil {
		t.Fatal(err)
	}
	v.w.Flush()
	// As postcat -od of Postfix 3.7 shows it, but for the date.
	want := `*** ENVELOPE RECORDS name ***
        0  83 sender: a@b.c
        7  82 recipient: x@y
       12  77 *** MESSAGE CONTENTS name ***
       14  78 A: bc
       21  78 
       23  76 abc
       28  78 de
       32  88 *** HEADER EXTRACTED name ***
       34  82 recipient: z@w
`
	if got := out.String(); !strings.HasPrefix(got, want+"       39  65 create_time: ") || warnings.Len() > 0 {
		t.Errorf("%s\n%s", got, warnings.String())
	}
}

// FuzzFile shows that no file makes postcat panic, or go on forever.
func FuzzFile(f *testing.F) {
	f.Add([]byte(dropFile), int64(0))
	f.Add([]byte("C\x03 0 p\x015S\x00p\x010E\x00"), int64(3))
	f.Add([]byte("S\x00p\x011p\x010"), int64(0))
	f.Fuzz(func(_ *testing.T, data []byte, start int64) {
		var out bytes.Buffer
		v := &view{parts: parts{true, true, true}, w: bufio.NewWriter(&out), warn: func(string, ...any) {}, start: max(start, 0)}
		v.file("name", bytes.NewReader(data)) //nolint:errcheck // most are corrupt
	})
}

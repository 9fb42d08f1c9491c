package dump

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A cacheFile is a dovecot.index.cache of which records are shown. Without a usable
// file it has no reader.
type cacheFile struct {
	*cache.Reader
	raw    [32]byte // its header
	values cache.Values
}

// openCache opens the cache of an index. One that is missing, or is that of another index, is
// no error.
func openCache(path string, m *indexMap) (*cacheFile, error) {
	c := &cacheFile{}
	r, err := cache.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if r.Header.IndexID != m.get(hdrIndexID) {
		r.Close()
		return c, nil
	}
	c.Reader = r
	copy(c.raw[:], prefix(path, len(c.raw)))
	return c, nil
}

func (c *cacheFile) close() {
	if c.Reader != nil {
		c.Close()
	}
}

func (d *dumper) cacheHeader(c *cacheFile) {
	if c.Reader == nil {
		d.printf("cache is unusable\n")
		return
	}
	h := &c.Header
	d.printf("major version ........ = %d\nminor version ........ = %d\n", c.raw[0], c.raw[2])
	d.printf("indexid .............. = %d (%s)\n", h.IndexID, date(h.IndexID))
	d.printf("file_seq ............. = %d (%s) (%d purges)\n", h.FileSeq, date(h.FileSeq), int32(h.FileSeq-h.IndexID))
	d.printf("continued_record_count = %d\nrecord_count ......... = %d\n", h.Continued, h.Records)
	d.printf("used_file_size (old) . = %d\ndeleted_record_count . = %d\n", h.UsedSize, h.Deleted)
	d.printf("field_header_offset .. = %d (0x%08x nontranslated)\n", h.Fields, le32(c.raw[28:]))
	d.printf("-- Cache fields --\n #  Name                                         Type Size Dec  Last used\n")
	for i := range c.Fields {
		f := &c.Fields[i]
		size := "-"
		if !f.IsVariable() {
			size = fmt.Sprint(f.Size)
		}
		d.printf("%2d: %-44s %-4s %4s %-4s %.16s\n", i, f.Name, cacheKinds[f.Kind], size, cacheDecisions[f.Decision], date(f.LastUsed))
	}
}

var (
	cacheKinds     = map[cache.Kind]string{cache.Fixed: "fix", cache.Variable: "var", cache.String: "str", cache.Bitmask: "bit", cache.HeaderLines: "hdr"}
	cacheDecisions = map[cache.Decision]string{cache.No: "no", cache.Temp: "tmp", cache.Yes: "yes"}
)

// cacheRecords shows what is cached of message i, newest first.
func (d *dumper) cacheRecords(c *cacheFile, m *indexMap, i int) {
	e := m.ext(extCache)
	data := m.data(i, e, 4)
	if data == nil || c.Reader == nil || e.resetID != c.Header.FileSeq {
		return
	}
	for off := le32(data); off != 0; {
		prev, size, err := c.LoadRecord(&c.values, off)
		if err == nil && prev >= off {
			err = fmt.Errorf("record at %d continues one at %d", off, prev)
		}
		if err != nil {
			d.complain("uid %d: %v", m.uid(i), err)
			d.printf(" - broken cache\n")
			return
		}
		d.printf(" - cache offset=%d size=%d, prev_offset = %d\n", off, size, prev)
		for n, value := range c.values.All() {
			d.cacheValue(&c.Fields[n], value)
		}
		off = prev
	}
}

func (d *dumper) cacheValue(f *cache.Field, b []byte) {
	d.printf("    - %s: ", f.Name)
	switch f.Kind {
	case cache.String:
		d.printf("%s\n", strings.TrimSuffix(string(b), "\x00"))
	case cache.HeaderLines:
		d.headerLines(b)
	default:
		switch {
		case f.Kind != cache.Fixed:
		case len(b) == 4:
			d.printf("%d ", le32(b))
		case len(b) == 8:
			d.printf("%d", le64(b))
		}
		d.printf("(%x)", b)
		switch f.Name {
		case "mime.parts":
			d.parts(b)
		case "body.snippet":
			if len(b) > 0 {
				d.printf(" (version=%d: %s)", b[0], strings.TrimSuffix(string(b[1:]), "\x00"))
			}
		}
		d.printf("\n")
	}
}

// headerLines shows header fields: numbers of lines, then the lines.
func (d *dumper) headerLines(b []byte) {
	n := 0
	for ; ; n++ {
		if len(b) < 4 {
			if n > 0 || len(b) > 0 {
				d.printf("\n - BROKEN: header field doesn't end with 0 line")
			}
			b = nil
			break
		}
		line := le32(b)
		if b = b[4:]; line == 0 {
			break
		}
		if n > 0 {
			d.printf(", ")
		}
		d.printf("%d", line)
	}
	text := string(b)
	if n == 1 {
		text = strings.TrimSuffix(text, "\n")
	}
	if len(text) > 0 {
		d.printf(": %s", cString([]byte(text)))
	}
	d.printf("\n")
}

// parts shows the MIME tree.
func (d *dumper) parts(b []byte) {
	d.printf(" ")
	s, err := message.ParseParts(b)
	if err != nil {
		d.printf("error: %v", err)
		return
	}
	d.part(&s.Root)
}

func (d *dumper) part(p *message.Part) {
	d.printf("(pos=%d hdr.p=%d hdr.v=%d body.p=%d body.v=%d flags=%x", p.Offset, p.Header.Physical, p.Header.Virtual, p.Body.Physical, p.Body.Virtual, uint8(p.Flags))
	if len(p.Children) > 0 {
		d.printf(" ")
	}
	for _, child := range p.Children {
		d.part(child)
	}
	d.printf(")")
}

package dump

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// An indexFiles names the files of one index.
type indexFiles struct{ path string }

func (f indexFiles) log() string   { return f.path + ".log" }
func (f indexFiles) cache() string { return f.path + ".cache" }

// indexAt returns the index that a path means: of a directory, that in it.
func indexAt(path string) (f indexFiles, ok bool) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		for _, name := range [...]string{"dovecot.index", "dovecot.map.index"} {
			f := indexFiles{path + "/" + name}
			if exists(f.path) || exists(f.log()) {
				return f, true
			}
		}
		return f, false
	}
	if !strings.Contains(path, "/") {
		path = "./" + path
	}
	return indexFiles{path}, filepath.Base(path) != ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isIndex(path string) bool {
	f, ok := indexAt(path)
	if !ok {
		return false
	}
	_, err := openLogFile(f.log())
	return err == nil
}

// index shows an index with its cache; with a uid, only that message.
func (d *dumper) index(path string, args []string) error {
	f, ok := indexAt(path)
	if !ok {
		return fmt.Errorf("Couldn't open index %s", path)
	}
	ls, err := openLogs(f.log())
	if err != nil {
		return fmt.Errorf("Couldn't open index %s", path)
	}
	only := uint64(0)
	if len(args) > 0 {
		if only, err = strconv.ParseUint(args[0], 10, 32); err != nil {
			return fmt.Errorf("Invalid uid number %s", args[0])
		}
	}
	m := d.indexMap(f, ls)
	c, err := openCache(f.cache(), m)
	if err != nil {
		d.complain("%s: %v", f.cache(), err)
	}
	defer c.close()
	if only == 0 {
		d.printf("-- INDEX: %s\n", f.path)
		d.indexHeader(m)
		d.extensions(m)
		d.keywords(m)
		d.printf("\n-- CACHE: %s\n", f.cache())
		d.cacheHeader(c)
		d.printf("\n-- RECORDS: %d\n", m.get(hdrMessages))
	}
	for i := range m.count() {
		if only == 0 || uint64(m.uid(i)) == only {
			d.message(m, i)
			d.cacheRecords(c, m, i)
			d.printf("\n")
		}
	}
	return nil
}

// indexMap reads dovecot.index and the logs.
func (d *dumper) indexMap(f indexFiles, ls *logs) *indexMap {
	m, err := readIndexMap(f.path)
	if err == nil && m != nil && m.get(hdrIndexID) != ls.head().indexID {
		err = fmt.Errorf("its index id is %d, that of the log %d", m.get(hdrIndexID), ls.head().indexID)
	}
	if err != nil {
		d.complain("%s is damaged: %v; run doveadm force-resync", f.path, err)
	}
	if m == nil {
		m = newIndexMap(ls.head().indexID)
		var notExist *os.PathError
		if err != nil && !errors.As(err, &notExist) {
			return m
		}
	}
	if err := replayLogs(m, ls, d.complain); err != nil {
		d.complain("%s cannot be brought up to date: %v; run doveadm force-resync", f.path, err)
	}
	return m
}

func (d *dumper) indexHeader(m *indexMap) {
	number := func(title string, off int) { d.printf("%s = %d\n", title, m.get(off)) }
	dated := func(title string, off int) { d.printf("%s = %d (%s)\n", title, m.get(off), date(m.get(off))) }
	d.printf("version .................. = %d.%d\n", m.hdr[0], m.hdr[hdrMinor])
	d.printf("base header size ......... = %d\n", le16(m.hdr[hdrBaseSize:]))
	number("header size ..............", hdrSize)
	number("record size ..............", hdrRecordSize)
	d.printf("compat flags ............. = %d\n", m.hdr[hdrCompat])
	dated("index id .................", hdrIndexID)
	number("flags ....................", hdrFlags)
	dated("uid validity .............", hdrUIDValidity)
	number("next uid .................", hdrNextUID)
	number("messages count ...........", hdrMessages)
	number("seen messages count ......", hdrSeen)
	number("deleted messages count ...", hdrDeleted)
	number("first recent uid .........", hdrFirstRecent)
	number("first unseen uid lowwater ", hdrUnseenLow)
	number("first deleted uid lowwater", hdrDeletedLow)
	number("log file seq .............", hdrLogSeq)
	number("log file tail offset .....", hdrLogTail)
	number("log file head offset .....", hdrLogHead)
	dated("log2 rotate time .........", hdrLog2Rotate)
	dated("last temp file scan ......", hdrTempScan)
	dated("day stamp ................", hdrDayStamp)
	for i := range 8 {
		d.printf("day first uid[%d] ......... = %d\n", i, m.get(hdrDayFirst+4*i))
	}
}

func (d *dumper) extensions(m *indexMap) {
	if len(m.exts) == 0 {
		d.printf("no extensions\n")
	}
	for i := range m.exts {
		e := &m.exts[i]
		d.printf("-- Extension %d --\nname ........ = %s\nhdr_size .... = %d\nreset_id .... = %d\n", i, e.name, e.size, e.resetID)
		d.printf("record_offset = %d\nrecord_size . = %d\nrecord_align  = %d\n", e.offset, e.width, e.align)
		if e.size > 0 && e.name != extKeywords {
			d.extensionHeader(e)
		}
	}
}

func (d *dumper) keywords(m *indexMap) {
	d.printf("-- Keywords --\n")
	for i, name := range m.keywords {
		d.printf("%3d = %s\n", i, name)
	}
}

var flagNames = []struct {
	flag byte
	name string
}{{0x08, "Seen"}, {0x01, "Answered"}, {0x02, "Flagged"}, {0x04, "Deleted"}, {0x10, "Draft"}}

func (d *dumper) message(m *indexMap, i int) {
	rec := m.record(i)
	var names []string
	for _, f := range flagNames {
		if rec[4]&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	flags := ""
	if len(names) > 0 {
		flags = "(" + strings.Join(names, " ") + ")"
	}
	d.printf("RECORD: seq=%d, uid=%d, flags=0x%02x %s\n", i+1, le32(rec), rec[4], flags)
	for n, r := range m.registered {
		data := m.data(i, m.ext(r.name), r.width)
		if len(data) == 0 {
			continue
		}
		value := ""
		if w := r.width; w == r.align && (w == 2 || w == 4 || w == 8) {
			value = strconv.FormatUint(number(data), 10)
		}
		d.printf(" - ext %d %-10s: %10s (%x)\n", n, r.name, value, data)
		d.extensionRecord(r.name, data)
	}
}

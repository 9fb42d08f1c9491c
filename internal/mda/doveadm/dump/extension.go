package dump

import (
	"bytes"
	"strings"
)

// A field is a number, text or GUID in the data of an extension.
type field struct {
	title string
	off   int
	as    func(d *dumper, b []byte)
	size  int
}

func showNumber(d *dumper, b []byte) { d.printf("%d", number(b)) }
func showHex(d *dumper, b []byte)    { d.printf("%x", b) }
func showFlags(d *dumper, b []byte)  { d.printf("0x%x", number(b)) }
func showDate(d *dumper, b []byte)   { d.printf("%s", date(le32(b))) }
func showDated(d *dumper, b []byte)  { d.printf("%d (%s)", le32(b), date(le32(b))) }

func u8(title string, off int) field    { return field{title, off, showNumber, 1} }
func u32(title string, off int) field   { return field{title, off, showNumber, 4} }
func u64(title string, off int) field   { return field{title, off, showNumber, 8} }
func guid(title string, off int) field  { return field{title, off, showHex, 16} }
func flags(title string, off int) field { return field{title, off, showFlags, 1} }
func unix(title string, off int) field  { return field{title, off, showDate, 4} }
func dated(title string, off int) field { return field{title, off, showDated, 4} }

// extensionHeaders are the fields of headers that are shown by name.
var extensionHeaders = map[string][]field{
	"hdr-vsize": {u32(" - highest uid .", 8), u32(" - message count", 12), u64(" - vsize .......", 0)},
	"maildir": {
		unix(" - new_check_time ....", 0), unix(" - new_mtime .........", 4), u32(" - new_mtime_nsecs ...", 8),
		unix(" - cur_check_time ....", 12), unix(" - cur_mtime .........", 16), u32(" - cur_mtime_nsecs....", 20),
		unix(" - uidlist_mtime .....", 24), u32(" - uidlist_mtime_nsecs", 28), u32(" - uidlist_size ......", 32),
	},
	"mbox": {
		unix(" - sync_mtime .", 8), u64(" - sync_size ..", 0), u8(" - dirty_flag .", 12), guid(" - mailbox_guid", 16),
	},
	"mdbox-hdr":     {u32(" - map_uid_validity ..", 0), guid(" - mailbox_guid ......", 4), flags(" - flags .............", 20)},
	"dbox-hdr":      {u32(" - rebuild_count .", 0), guid(" - mailbox_guid ..", 4), flags(" - flags .........", 20)},
	"modseq":        {u64(" - highest_modseq", 0), u32(" - log_seq ......", 8), u32(" - log_offset ...", 12)},
	"fts":           {u32(" - last_indexed_uid .....", 0), u32(" - settings_checksum ....", 4)},
	"hdr-pop3-uidl": {u32(" - max_uid_with_pop3_uidl", 0)},
}

// extensionHeader shows the header of an extension. Missing fields are zero.
func (d *dumper) extensionHeader(e *extension) {
	b := append(append([]byte(nil), e.header[:e.size]...), make([]byte, 128)...)
	fields, ok := extensionHeaders[e.name]
	switch {
	case ok:
		d.printf("header\n")
		for _, f := range fields {
			d.field(f, b)
		}
		return
	case e.name == "virtual":
		d.virtualHeader(b)
		return
	}
	d.printf("header ........ = %x\n", b[:e.size])
	switch e.name {
	case "list":
		d.listHeader(b[:e.size])
	case "box-name":
		d.printf(" %s\n", strings.ReplaceAll(strings.TrimRight(string(b[:e.size]), "\x00"), "\x00", "\n "))
	}
}

func (d *dumper) field(f field, b []byte) {
	d.printf("%s = ", f.title)
	f.as(d, b[f.off:f.off+f.size])
	d.printf("\n")
}

// listHeader shows the names of a list index: u8, then u32 number and name with NUL
// each.
func (d *dumper) listHeader(b []byte) {
	d.printf(" - refresh_flag = %d\n", b[0])
	for b = b[1:]; len(b) > 0; {
		if len(b) < 4 {
			d.printf(" - corrupted\n")
			return
		}
		id := int32(le32(b))
		if b = b[4:]; id == 0 {
			return
		}
		end := bytes.IndexByte(b, 0)
		if end < 0 {
			d.printf(" - corrupted\n")
			return
		}
		d.printf(" - %d : %s\n", id, b[:end])
		b = b[end+1:]
	}
}

// virtualHeader shows the header of a virtual mailbox: its mailboxes, then their
// names.
func (d *dumper) virtualHeader(b []byte) {
	const header, each = 16, 24
	d.printf("header\n")
	for _, f := range []field{
		u32(" - change_counter ...", 0), u32(" - mailbox_count ....", 4), u32(" - highest_mailbox_id", 8), u32(" - search_args_crc32 ", 12),
	} {
		d.field(f, b)
	}
	n := int64(le32(b[4:]))
	if n > int64(len(b)-header)/each {
		d.printf(" - corrupted\n")
		return
	}
	boxes, names := b[header:header+each*int(n)], b[header+each*int(n):]
	for ; len(boxes) > 0; boxes = boxes[each:] {
		size := min(int(le32(boxes[4:])), len(names))
		d.printf("mailbox %s:\n", names[:size])
		names = names[size:]
		for _, f := range []field{
			u32(" - id ...........", 0), u32(" - uid_validity .", 8), u32(" - next_uid .....", 12), u64(" - highest_modseq", 16),
		} {
			d.field(f, boxes)
		}
	}
}

const under = "                   : "

// extensionRecords are the fields of records that are shown by name.
var extensionRecords = map[string][]field{
	"virtual": {u32(under+"mailbox_id", 0), u32(under+"real_uid  ", 4)},
	"map":     {u32(under+"file_id", 0), u32(under+"offset ", 4), u32(under+"size   ", 8)},
	"mdbox":   {u32(under+"map_uid  ", 0), dated(under+"save_date", 4)},
	"list": {
		u32(under+"name_id     ", 0), u32(under+"parent_uid  ", 4), guid(under+"guid        ", 8), u32(under+"uid_validity", 24),
	},
	"msgs":  {u32(under+"messages", 0), u32(under+"unseen  ", 4), u32(under+"recent  ", 8), u32(under+"uidnext ", 12)},
	"vsize": {u64(under+"vsize        ", 0), u32(under+"highest_uid  ", 8), u32(under+"message_count", 12)},
}

// extensionRecord shows the fields of a record. vsize has some in a list index only.
func (d *dumper) extensionRecord(name string, b []byte) {
	if name == "vsize" && len(b) < 16 {
		return
	}
	b = append(append([]byte(nil), b...), make([]byte, 32)...)
	for _, f := range extensionRecords[name] {
		d.field(f, b)
	}
}

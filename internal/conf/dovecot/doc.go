// Package dovecot reads the configuration language of Dovecot 2.3 and gives it to
// the daemons as typed structs.
//
// # Declaring settings
//
// A setting is declared where it is used, as a field of a struct passed to
// [Register]:
//
//	type Settings struct {
//		Fsync string        `set:"mail_fsync" default:"optimized" enum:"optimized|never|always" doc:"..."`
//		Idle  time.Duration `set:"imap_idle_notify_interval" default:"2 mins"`
//		Boxes []Namespace   `set:"namespace"`
//	}
//	var _ = dovecot.Register("imap", Settings{})
//
// The type of the field is the type of the setting: bool, uint32 or another
// integer, string, time.Duration (seconds; milliseconds with unit:"ms"),
// [Size], [Mode], [Port], map[string]string for plugin and dict, a slice of
// structs for a list of sections. Tags:
//
//	set      name; "plugin/NAME" for a key of plugin { }
//	default  as it would be written in a file
//	enum     words separated by |
//	vars     yes: %variables are expanded when the value is used
//	path     yes: the value names a file
//	file     yes: the value may be <file, and the program wants its contents
//	hidden   yes: doveconf prints it only with -s
//	check    only: the field is for checks and tools of the configuration; it does
//	         not make the setting one that has effect
//	doc      one line
//
// The package also has a catalog (catalog.tsv) of every setting of Dovecot and
// Pigeonhole. It supplies what the tags leave out, and makes settings known
// that nothing uses yet: their values are checked, and [Config.Warnings] says
// that they have no effect. [Config.Refused] is an error if one of these
// would have restricted something. [Discrepancies] lists where a struct and
// the catalog differ.
//
// # Reading them
//
// [Load] parses and checks a file once; [Config.Decode] fills a struct with the
// values for one [Filter]. A process decodes what it needs when it starts a session, or
// once if nothing in it depends on the client.
//
// # The language
//
// Lines are cut at '#' outside quotes; blanks at both ends do not count; a
// backslash at the end joins the next line with one blank. An empty or comment line in the
// middle of a continued one discards what came before it. Then a line is one of
//
//	key = value          "value" and 'value' lose quotes, \x becomes x
//	key = <file          the contents of the file, verbatim
//	type {               a section; unnamed ones are numbered
//	type name {
//	}
//	!include pattern     files in place of the line; no match is an error
//	!include_try pattern
//
// A key may be a path into sections that exist: service/imap/process_limit.
// In an unquoted value a word $name is replaced by a global setting as it is
// at that point, $ENV:NAME by the environment; the name of the key itself is its value so
// far, which is how lists of plugins are extended.
//
// Sections of the same name are merged, except passdb and userdb, which stay
// apart and in order. The sections protocol, local, remote and local_name are filters: what
// they hold applies only to matching sessions. Of the filters that match, the more specific
// wins: local_name before none, then the longer local, then the longer
// remote network, then protocol before none.
//
// In memory each filter is a layer of values above the global one; the built-in
// services (services.conf) are the layer below. A lookup walks the matching
// layers from the most specific to the least.
//
// # Printing
//
// [Config.Export] collects settings in the order of the catalog, which is that of
// Dovecot's own tables and of doveconf -S; [Export.Write] prints them sorted, as a file with
// the same meaning. What is explicitly set has a position in a file. The modules
// that doveconf -m names are those of the catalog's column; the defaults are those of the
// flavor (package flavor).
//
// # Errors
//
// The texts of errors and warnings are Dovecot's, so that what people find
// about them applies; an [Error] says file and line.
package dovecot

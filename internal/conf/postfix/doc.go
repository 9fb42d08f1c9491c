// Package postfix reads main.cf and master.cf of Postfix 3 and gives the
// parameters to the daemons as typed structs.
//
// # Declaring parameters
//
// A parameter is declared where it is used, as a field of a struct passed to
// [Register]:
//
//	type Settings struct {
//		SizeLimit int64         `set:"message_size_limit" default:"10240000" doc:"..."`
//		Backoff   time.Duration `set:"minimal_backoff_time" default:"300s" min:"1"`
//		Command   string        `set:"mailbox_command" raw:"yes"`
//	}
//	var _ = postfix.Register("smtpd", Settings{})
//
// The type of the field is the type of the parameter: bool, int, int64 (sizes),
// time.Duration, string. Tags: set (name), default (as in main.cf, may hold
// $name), min and max (seconds for times), nonempty:"yes", raw:"yes" ($name is
// not expanded), doc, check:"only" (the field is for checks of the configuration:
// it does not make the parameter one that has effect).
//
// The package also has a catalog (catalog.tsv) of every parameter of Postfix. It supplies
// what the tags leave out, and makes parameters known that nothing
// uses yet: [Main.Warnings] says that they have no effect, and [Main.Refused] is an error
// if one of these would have restricted something. Names that are in neither
// are user-defined parameters, as in Postfix. [Discrepancies] lists where a
// struct and the catalog differ, or the catalog does not know a name. The defaults are
// those of the flavor that Dovetail was built for (package flavor).
//
// # Lines
//
// In both files a line that begins with white space continues the one before
// it, blanks included; comments and blank lines may stand anywhere. A '#'
// after other text is part of it.
//
// # main.cf
//
// Each line is name = value; the last one of a name counts. Values are expanded when
// they are used:
//
//	$name ${name} $(name)              the value of another parameter
//	${name?text} ${name:text}          text if it is not empty, if it is
//	${name?{text}:{text}}
//	${{left} OP {right}?{text}:{text}} OP is == != < <= > >=, or one of these
//	                                   with "level" for compatibility levels;
//	                                   numeric if both sides are all digits
//	$$                                 one $
//
// Tools that show and edit the file (package postconf) use [Read], [ExpandText] and
// [ScanText].
//
// As in Postfix a wrong value is an error for those who use it: [Main.Decode] reports it,
// [Load] does not. The error texts are Postfix's fatal errors; where
// Postfix logs a warning first, the error is an [*Error].
//
// # master.cf
//
// An entry is eight fields: service, type, private, unprivileged, chroot,
// wakeup, process limit, command, and the command's arguments. { text } is one
// argument. The options -o name=value become a layer above main.cf:
// [ServiceEntry.Main].
package postfix

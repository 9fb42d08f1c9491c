package milter

import "strings"

// The commands, as their packets name them.
const (
	cmdAbort   = 'A'
	cmdBody    = 'B'
	cmdConnect = 'C'
	cmdMacro   = 'D'
	cmdEnd     = 'E' // of the message
	cmdHelo    = 'H'
	cmdHeader  = 'L'
	cmdMail    = 'M'
	cmdEOH     = 'N'
	cmdOptions = 'O'
	cmdQuit    = 'Q'
	cmdRcpt    = 'R'
	cmdData    = 'T'
	cmdUnknown = 'U'
)

// commandNames are those of libmilter, which the log has.
var commandNames = map[byte]string{
	cmdAbort: "SMFIC_ABORT", cmdBody: "SMFIC_BODY", cmdConnect: "SMFIC_CONNECT", cmdMacro: "SMFIC_MACRO",
	cmdEnd: "SMFIC_BODYEOB", cmdHelo: "SMFIC_HELO", cmdHeader: "SMFIC_HEADER", cmdMail: "SMFIC_MAIL", cmdEOH: "SMFIC_EOH",
	cmdOptions: "SMFIC_OPTNEG", cmdQuit: "SMFIC_QUIT", cmdRcpt: "SMFIC_RCPT", cmdData: "SMFIC_DATA", cmdUnknown: "SMFIC_UNKNOWN",
}

// actions are the changes that a filter may ask for: all there are.
const actions uint32 = 0x1ff

// steps are what a filter may ask for in the negotiation.
type steps uint32

const (
	noConnect steps = 1 << iota
	noHelo
	noMail
	noRcpt
	noBody
	noHeaders
	noEOH
	noReplyHeader
	noUnknown
	noData
	maySkip
	rejectedRcpt // it wants to hear of recipients that were refused, too
	noReplyConnect
	noReplyHelo
	noReplyMail
	noReplyRcpt
	noReplyData
	noReplyUnknown
	noReplyEOH
	noReplyBody
	leadingSpace // header values begin with the blank behind the colon

	// omittable are the commands that may not exist.
	omittable = noConnect | noHelo | noMail | noRcpt | noBody | noHeaders | noEOH | noUnknown | noData
)

// versions are the protocols, the newest first, with what there is to ask for in them.
var versions = []struct {
	number uint32
	name   string
	steps  steps
}{
	{6, "6", 1<<21 - 1},
	{4, "4", omittable},
	{3, "3", omittable &^ noData},
	{2, "2", omittable &^ (noData | noUnknown)},
}

// parseProtocol reads milter_protocol. What is wrong with it is the word that it returns.
func parseProtocol(value string) (version uint32, offered steps, bad string) {
	for _, word := range strings.FieldsFunc(value, isSeparator) {
		known := word == "no_header_reply"
		if known {
			offered |= noReplyHeader
		}
		for _, v := range versions {
			if word != v.name {
				continue
			}
			if version != 0 {
				return 0, 0, word
			}
			known, version, offered = true, v.number, offered|v.steps
		}
		if !known {
			return 0, 0, word
		}
	}
	return version, offered, ""
}

func isSeparator(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }

// stepsOf are those of the newest protocol not above a version.
func stepsOf(version uint32) (steps, bool) {
	for _, v := range versions {
		if v.number <= version {
			return v.steps, true
		}
	}
	return 0, false
}

// A stage is where macros are sent. The first seven have numbers in the protocol.
type stage uint8

const (
	stageConnect stage = iota
	stageHelo
	stageMail
	stageRcpt
	stageData
	stageEnd
	stageEOH
	stageUnknown
	stages
)

// A command is one of those that filters may not want or not answer.
type command struct {
	code    byte
	stage   stage
	omit    steps
	noReply steps
}

var (
	connectCommand = command{cmdConnect, stageConnect, noConnect, noReplyConnect}
	heloCommand    = command{cmdHelo, stageHelo, noHelo, noReplyHelo}
	mailCommand    = command{cmdMail, stageMail, noMail, noReplyMail}
	rcptCommand    = command{cmdRcpt, stageRcpt, noRcpt, noReplyRcpt}
	dataCommand    = command{cmdData, stageData, noData, noReplyData}
	unknownCommand = command{cmdUnknown, stageUnknown, noUnknown, noReplyUnknown}
	headerCommand  = command{cmdHeader, stageEOH, noHeaders, noReplyHeader}
	eohCommand     = command{cmdEOH, stageEOH, noEOH, noReplyEOH}
	bodyCommand    = command{cmdBody, stageEnd, noBody, noReplyBody}
	endCommand     = command{cmdEnd, stageEnd, 0, 0}
)

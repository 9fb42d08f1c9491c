package smtpd

import (
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// keywords is a set of EHLO keywords.
type keywords uint16

const (
	kwPipelining keywords = 1 << iota
	kwSize
	kwVrfy
	kwETRN
	kwStartTLS
	kwAuth
	kwVERP
	kwXCLIENT
	kwXFORWARD
	kwEnhanced
	kw8BitMIME
	kwDSN
	kwSMTPUTF8
	kwChunking
	kwSilent // silent-discard: do not tell about it
)

var keywordNames = map[string]keywords{
	"pipelining": kwPipelining, "size": kwSize, "vrfy": kwVrfy, "etrn": kwETRN,
	"starttls": kwStartTLS, "auth": kwAuth, "verp": kwVERP, "xverp": kwVERP,
	"xclient": kwXCLIENT, "xforward": kwXFORWARD, "enhancedstatuscodes": kwEnhanced,
	"8bitmime": kw8BitMIME, "dsn": kwDSN, "smtputf8": kwSMTPUTF8, "chunking": kwChunking,
	"silent-discard": kwSilent,
}

// parseKeywords reads a list of keywords. Unknown ones have no effect.
func parseKeywords(list string, log *maillog.Logger) keywords {
	var set keywords
	for _, word := range postfix.SplitList(list) {
		k, ok := keywordNames[strings.ToLower(word)]
		if !ok {
			log.Warningf("unknown EHLO keyword %q in %q is ignored", word, list)
		}
		set |= k
	}
	return set
}

// discardFor returns the keywords that are not announced to a client, and tells so.
func (srv *Server) discardFor(s *session) keywords {
	set := srv.discard
	if maps := srv.lists.discardMaps; !maps.Empty() {
		value, found, err := maps.Lookup(s.ctx, s.client.addrText)
		if err == nil && found {
			set = parseKeywords(value, srv.log)
		}
	}
	if shown := set &^ kwSilent; shown != 0 && set&kwSilent == 0 {
		var b []byte
		for _, name := range keywordOrder {
			if shown&keywordNames[name] != 0 {
				b = append(append(b, ' '), strings.ToUpper(name)...)
			}
		}
		srv.log.Infof("discarding EHLO keywords:%s", b)
	}
	return set
}

var keywordOrder = []string{
	"8bitmime", "auth", "chunking", "etrn", "pipelining", "size", "starttls", "vrfy", "verp",
	"xclient", "xforward", "enhancedstatuscodes", "dsn", "smtputf8",
}

// extensions are the parameters of MAIL and RCPT that the session takes.
func (s *session) extensions() smtp.Extensions {
	ext := smtp.ExtSize | smtp.Ext8BitMIME | smtp.ExtDSN | smtp.ExtAuth // AUTH= even where there is no AUTH, as Postfix
	if s.srv.core.SMTPUTF8Enable {
		ext |= smtp.ExtSMTPUTF8
	}
	if s.discard&kwVERP == 0 && s.srv.lists.verp.matches(s) {
		ext |= smtp.ExtXVERP
	}
	return ext
}

// bareLFMode is smtpd_forbid_bare_newline.
type bareLFMode uint8

const (
	bareLFAllow bareLFMode = iota
	bareLFNormalize
	bareLFNote // and tell of it at the end of the session
	bareLFReject
)

func parseBareLF(value string) (bareLFMode, error) {
	switch strings.ToLower(value) {
	case "no":
		return bareLFAllow, nil
	case "yes", "normalize":
		return bareLFNormalize, nil
	case "note":
		return bareLFNote, nil
	case "reject":
		return bareLFReject, nil
	}
	return 0, fmt.Errorf("bad configuration: smtpd_forbid_bare_newline = %s", value)
}

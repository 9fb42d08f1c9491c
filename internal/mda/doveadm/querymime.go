package doveadm

import (
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// mimePartKey is MIMEPART: its keys are about one part of a message.
func mimePartKey(p *queryParser, _ *keyList) (*search.Key, error) {
	k, err := p.part(nil)
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: search.MIMEPart, Part: k}, nil
}

// partTexts are the keys with one string.
var partTexts = map[string]search.PartOp{
	"DESCRIPTION": search.PartDescription, "ENCODING": search.PartEncoding, "ID": search.PartID, "LANGUAGE": search.PartLanguage,
	"LOCATION": search.PartLocation, "MD5": search.PartMD5, "TYPE": search.PartType, "SUBTYPE": search.PartSubtype,
	"BCC": search.PartBcc, "CC": search.PartCc, "FROM": search.PartFrom, "IN-REPLY-TO": search.PartInReplyTo,
	"MESSAGE-ID": search.PartMessageID, "REPLY-TO": search.PartReplyTo, "SENDER": search.PartSender, "SUBJECT": search.PartSubject,
	"TO": search.PartTo, "BODY": search.PartUnknown, "TEXT": search.PartUnknown,
}

var partDates = map[string]search.PartOp{
	"SENTBEFORE": search.PartSentBefore, "SENTON": search.PartSentOn, "SENTSINCE": search.PartSentSince,
}

// part reads a key about parts; outer is the CHILD or PARENT that it belongs to.
func (p *queryParser) part(outer *search.PartKey) (*search.PartKey, error) {
	if p.depth++; p.depth > maxQueryDepth {
		return nil, errQuery("Search query is nested too deeply")
	}
	defer func() { p.depth-- }()
	if len(p.args) == 0 || p.args[0] == ")" && p.open > 0 {
		return nil, errQuery("Missing MIMEPART key")
	}
	word := p.args[0]
	p.args = p.args[1:]
	if word == "(" {
		return p.partList()
	}
	p.name = upperASCII(word)
	if op, ok := partTexts[p.name]; ok {
		v, err := p.value()
		return &search.PartKey{Op: op, Text: v}, err
	}
	if op, ok := partDates[p.name]; ok {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		day, ok := imapwire.ParseDate([]byte(v))
		if !ok {
			return nil, errQuery("Invalid search date parameter")
		}
		return &search.PartKey{Op: op, Date: day}, nil
	}
	switch p.name {
	case "NOT":
		k, err := p.part(outer)
		if err != nil {
			return nil, err
		}
		return &search.PartKey{Op: search.PartAnd, Keys: []*search.PartKey{k}, Not: true}, nil
	case "OR":
		return p.partOr()
	case "CHILD", "PARENT":
		return p.partRelation(p.name)
	case "EXISTS":
		if outer == nil {
			return nil, errQuery("EXISTS key can only be used with PARENT or CHILD")
		}
		return nil, nil
	case "SIZE":
		return p.partNumber("Invalid MIMEPART SIZE value", 64, map[string]search.PartOp{
			"": search.PartSizeEqual, "LARGER": search.PartSizeLarger, "SMALLER": search.PartSizeSmaller,
		})
	case "DEPTH":
		return p.partNumber("Invalid MIMEPART DEPTH level", 32, map[string]search.PartOp{
			"": search.PartDepthEqual, "MIN": search.PartDepthMin, "MAX": search.PartDepthMax,
		})
	case "INDEX":
		return p.partNumber("Invalid MIMEPART INDEX number", 32, map[string]search.PartOp{"": search.PartIndex})
	case "PARAM":
		return p.partField(search.PartParam)
	case "HEADER":
		return p.partField(search.PartUnknown)
	case "DISPOSITION":
		return p.partDisposition()
	case "FILENAME":
		return p.partFilename()
	}
	return nil, errQuery("Unknown MIMEPART key " + p.name)
}

// partList reads keys in parentheses: all, or with ORs one.
func (p *queryParser) partList() (*search.PartKey, error) {
	p.open++
	list := &search.PartKey{Op: search.PartAnd}
	for len(p.args) > 0 && p.args[0] != ")" {
		k, err := p.part(nil)
		if err != nil {
			return nil, err
		}
		list.Keys = append(list.Keys, k)
	}
	if len(p.args) == 0 {
		return nil, errQuery("Missing ')'")
	}
	p.args, p.open = p.args[1:], p.open-1
	if len(list.Keys) == 0 {
		return nil, errQuery("No MIMEPART keys inside list")
	}
	return list, nil
}

// partOr reads the operands of OR, which here stand behind it: OR a b, or OR a OR b c.
func (p *queryParser) partOr() (*search.PartKey, error) {
	or := &search.PartKey{Op: search.PartOr}
	for again := true; ; {
		k, err := p.part(nil)
		if err != nil {
			return nil, err
		}
		or.Keys = append(or.Keys, k)
		if !again {
			return or, nil
		}
		if again = len(p.args) > 0 && strings.EqualFold(p.args[0], "OR"); again {
			p.args = p.args[1:]
		}
	}
}

// partRelation reads the key of CHILD or PARENT.
func (p *queryParser) partRelation(name string) (*search.PartKey, error) {
	k := &search.PartKey{Op: search.PartChild}
	if name == "PARENT" {
		k.Op = search.PartParent
	}
	sub, err := p.part(k)
	if err != nil {
		return nil, err
	}
	if sub != nil {
		k.Keys = []*search.PartKey{sub}
	}
	return k, nil
}

// partNumber reads [word] number.
func (p *queryParser) partNumber(mistake string, bits int, words map[string]search.PartOp) (*search.PartKey, error) {
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	name := p.name
	op, ok := words[upperASCII(v)]
	if !ok || v == "" {
		op = words[""]
	} else if v, err = p.value(); err != nil {
		return nil, errQuery("Invalid MIMEPART " + name + " value")
	}
	n, err := strconv.ParseUint(v, 10, bits)
	if err != nil {
		return nil, errQuery(mistake)
	}
	return &search.PartKey{Op: op, Number: n}, nil
}

// partField reads a name and a string.
func (p *queryParser) partField(op search.PartOp) (*search.PartKey, error) {
	field, err := p.utf8Value()
	if err != nil {
		return nil, err
	}
	v, err := p.utf8Value()
	return &search.PartKey{Op: op, Field: field, Text: v}, err
}

func (p *queryParser) partDisposition() (*search.PartKey, error) {
	word, err := p.value()
	if err != nil {
		return nil, err
	}
	switch upperASCII(word) {
	case "TYPE":
		v, err := p.value()
		return &search.PartKey{Op: search.PartDispositionType, Text: v}, err
	case "PARAM":
		return p.partField(search.PartDispositionParam)
	}
	return nil, errQuery("Invalid MIMEPART DISPOSITION key type")
}

var partFilenames = map[string]search.PartOp{
	"IS": search.PartFilenameIs, "CONTAINS": search.PartFilenameContains, "BEGINS": search.PartFilenameBegins, "ENDS": search.PartFilenameEnds,
}

func (p *queryParser) partFilename() (*search.PartKey, error) {
	word, err := p.value()
	if err != nil {
		return nil, err
	}
	op, ok := partFilenames[upperASCII(word)]
	if !ok {
		return nil, errQuery("Invalid MIMEPART FILENAME match type")
	}
	v, err := p.utf8Value()
	return &search.PartKey{Op: op, Text: v}, err
}

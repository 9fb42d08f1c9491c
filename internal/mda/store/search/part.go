package search

import (
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/message"
)

// PartOp says what a PartKey tests.
type PartOp uint8

// The keys of MIMEPART (draft-ietf-imapext-search-mimepart, as Dovecot has it).
const (
	PartAnd PartOp = iota
	PartOr
	PartChild  // one of the parts inside matches Keys; any is there if there are none
	PartParent // the part around matches Keys; there is one if there are none
	PartSizeEqual
	PartSizeLarger
	PartSizeSmaller
	PartDepthEqual // how many parts are around it
	PartDepthMin
	PartDepthMax
	PartIndex // its number among its siblings
	PartSentBefore
	PartSentOn
	PartSentSince
	PartParam            // of Content-Type: Field contains Text
	PartDispositionParam // of Content-Disposition
	PartFilenameIs
	PartFilenameContains
	PartFilenameBegins
	PartFilenameEnds
	PartLanguage
	PartDispositionType // this and the following: the part's value is Text, or contains it
	PartEncoding
	PartID
	PartLocation
	PartMD5
	PartType
	PartSubtype
	PartDescription
	PartSubject
	PartInReplyTo
	PartMessageID
	PartFrom
	PartSender
	PartReplyTo
	PartTo
	PartCc
	PartBcc
	PartUnknown // HEADER, BODY, TEXT: Dovecot does not look, and finds nothing

	partDate
)

// A PartKey is one node of a query about parts of messages.
type PartKey struct {
	Op     PartOp
	Not    bool
	Keys   []*PartKey
	Text   string
	Field  string
	Number uint64
	Date   time.Time
}

// match reports whether a part matches. depth counts from the part that the query began at.
func (k *PartKey) match(p *part, depth uint64) truth {
	t := k.matched(p, depth)
	if k.Not {
		return t.not()
	}
	return t
}

func (k *PartKey) matched(p *part, depth uint64) truth {
	switch k.Op {
	case PartAnd, PartOr:
		return k.combined(p, depth)
	case PartChild:
		if len(k.Keys) == 0 {
			return result(len(p.children) > 0)
		}
		return k.inside(p, 1)
	case PartParent:
		switch {
		case len(k.Keys) == 0:
			return result(p.parent != nil)
		case p.parent == nil || depth == 0:
			return no
		}
		return k.combined(p.parent, depth-1)
	case PartUnknown:
		return unknown
	}
	return result(k.tests(p, depth))
}

// combined evaluates And and Or, and the keys of what is inside or around.
func (k *PartKey) combined(p *part, depth uint64) truth {
	decides, t := no, yes
	if k.Op == PartOr {
		decides, t = yes, no
	}
	for _, sub := range k.Keys {
		switch r := sub.match(p, depth); r {
		case decides:
			return decides
		case unknown:
			t = unknown
		}
	}
	return t
}

// inside looks for the first part inside that does not fail.
func (k *PartKey) inside(p *part, depth uint64) truth {
	for _, child := range p.children {
		if t := k.combined(child, depth); t != no {
			return t
		}
		if t := k.inside(child, depth+1); t != no {
			return t
		}
	}
	return no
}

// first looks for the first part of the tree that does not fail.
func (k *PartKey) first(p *part, depth uint64) truth {
	t := k.match(p, depth)
	for i := 0; t == no && i < len(p.children); i++ {
		t = k.first(p.children[i], depth+1)
	}
	return t
}

// tests evaluates a key about one part.
func (k *PartKey) tests(p *part, depth uint64) bool {
	switch k.Op {
	case PartSizeEqual:
		return p.size == k.Number
	case PartSizeLarger:
		return p.size > k.Number
	case PartSizeSmaller:
		return p.size < k.Number
	case PartDepthEqual:
		return depth == k.Number
	case PartDepthMin:
		return depth >= k.Number
	case PartDepthMax:
		return depth <= k.Number
	case PartIndex:
		return p.index == k.Number
	case PartSentBefore, PartSentOn, PartSentSince:
		return k.sent(p)
	case PartParam:
		return k.param(p.params)
	case PartDispositionParam:
		return k.param(p.dispParam)
	case PartFilenameIs, PartFilenameContains, PartFilenameBegins, PartFilenameEnds:
		return k.filename(p)
	case PartLanguage:
		return slices.ContainsFunc(p.languages, func(l string) bool { return strings.EqualFold(l, k.Text) })
	}
	value, ok := p.text[k.Op]
	switch {
	case !ok:
		return false
	case k.Op == PartMD5:
		return value == k.Text
	case k.Op >= PartDescription:
		return strings.Contains(value, k.Text)
	}
	return strings.EqualFold(value, k.Text)
}

func (k *PartKey) param(list []pair) bool {
	for _, p := range list {
		if strings.EqualFold(p.name, k.Field) {
			return strings.Contains(p.value, k.Text)
		}
	}
	return false
}

// sent compares the day of the Date field in its own zone.
func (k *PartKey) sent(p *part) bool {
	t, ok := message.ParseDate([]byte(p.text[partDate]))
	if !ok || !p.envelope {
		return false
	}
	day, want := dayNumber(t), dayNumber(k.Date)
	switch k.Op {
	case PartSentBefore:
		return day < want
	case PartSentOn:
		return day == want
	}
	return day >= want
}

// filename compares the name of an attachment.
func (k *PartKey) filename(p *part) bool {
	if kind, ok := p.text[PartDispositionType]; ok && !strings.EqualFold(kind, "attachment") {
		return false
	}
	i := slices.IndexFunc(p.dispParam, func(p pair) bool { return strings.EqualFold(p.name, "filename") })
	if i < 0 {
		return false
	}
	value, want := string(newNeedle(p.dispParam[i].value)), string(newNeedle(k.Text))
	switch k.Op {
	case PartFilenameIs:
		return value == want
	case PartFilenameContains:
		return strings.Contains(value, want)
	case PartFilenameBegins:
		return strings.HasPrefix(value, want)
	}
	return strings.HasSuffix(value, want)
}

// part looks for a part of the message. Of what the query cannot decide nothing is found,
// whether it is negated or not.
func (c *candidate) part(q *query) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	structure, err := msg.AppendBodyStructure(c.ctx, nil)
	if err != nil {
		return false, err
	}
	root, ok := parseParts(string(structure))
	if !ok {
		return q.Not, nil
	}
	switch q.Part.first(root, 0) {
	case yes:
		return true, nil
	case unknown:
		return q.Not, nil
	}
	return false, nil
}

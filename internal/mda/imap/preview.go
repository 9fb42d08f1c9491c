package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// preview is how PREVIEW (RFC 8970) was asked for. SNIPPET, and the modifier FUZZY, are
// of the draft before it, in which the answer names the algorithm.
type preview struct {
	name  string // PREVIEW or SNIPPET
	fuzzy bool
	lazy  bool // only if it costs nothing
}

// addPreview reads the modifiers, if there are any.
func (p *program) addPreview(name string, args imapwire.Args) (rest imapwire.Args, err error) {
	v := preview{name: name, fuzzy: name == "SNIPPET"}
	if len(args) > 0 && args[0].Kind == imapwire.List {
		for list := args.List(); len(list) > 0; list = list.Rest() {
			switch {
			case list[0].Kind != imapwire.Atom:
				return nil, bad("Invalid PREVIEW modifier")
			case list[0].Is("LAZY"):
				v.lazy = true
			case list[0].Is("FUZZY"):
				v.fuzzy = true
			case list[0].Is("LAZY=FUZZY"):
				v.lazy, v.fuzzy = true, true
			default:
				return nil, bad("'" + string(list[0].Data) + "' is not a supported PREVIEW modifier")
			}
		}
		args = args.Rest()
	}
	if p.items&itemPreview == 0 {
		p.preview = v
		p.add(itemPreview)
	}
	return args, nil
}

func (f *fetcher) appendPreview(b []byte) ([]byte, error) {
	text, ok := f.msg.CachedPreview()
	if !ok && !f.preview.lazy {
		var err error
		if text, err = f.msg.Preview(f.ctx); err != nil {
			return b, err
		}
		ok = true
	}
	b = append(b, f.preview.name...)
	if b = append(b, ' '); f.preview.fuzzy {
		b = append(b, "(FUZZY "...)
	}
	if ok {
		b = imapwire.AppendString(b, text)
	} else {
		b = append(b, "NIL"...)
	}
	if f.preview.fuzzy {
		b = append(b, ')')
	}
	return b, nil
}

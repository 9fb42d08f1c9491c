package message

// maxAddresses bounds the addresses described of one field.
const maxAddresses = 100000

// AppendEnvelope appends the IMAP ENVELOPE of the message with its parentheses.
func (s *Structure) AppendEnvelope(b []byte) []byte {
	return s.Root.appendEnvelope(b)
}

// AppendEnvelope appends the ENVELOPE of a message/rfc822 part's message.
func (p *Part) AppendEnvelope(b []byte) []byte { return p.appendEnvelope(b) }

func (p *Part) appendEnvelope(b []byte) []byte {
	b = append(b, '(')
	b = p.appendText(b, fieldDate, appendNoLF)
	b = append(b, ' ')
	b = p.appendText(b, fieldSubject, appendHumans)
	from := p.addresses(fieldFrom)
	for _, id := range [...]fieldID{fieldFrom, fieldSender, fieldReplyTo, fieldTo, fieldCc, fieldBcc} {
		list := from
		if id != fieldFrom {
			list = p.addresses(id)
		}
		if list == nil && (id == fieldSender || id == fieldReplyTo) {
			list = from // RFC 3501 7.4.2
		}
		b = appendAddresses(append(b, ' '), list)
	}
	b = append(b, ' ')
	b = p.appendText(b, fieldInReplyTo, appendNoLF)
	b = append(b, ' ')
	b = p.appendText(b, fieldMessageID, appendNoLF)
	return append(b, ')')
}

func (p *Part) appendText(b []byte, id fieldID, text func(b, s []byte) []byte) []byte {
	value, ok := p.value(id)
	if !ok {
		return append(b, "NIL"...)
	}
	return text(b, replaceNUL(value))
}

// addresses returns the addresses of all fields of that name.
func (p *Part) addresses(id fieldID) []Address {
	var list []Address
	for i := range p.fields {
		if v := &p.fields[i]; v.id == id {
			list = append(list, ParseAddresses(p.text(v), maxAddresses-len(list))...)
		}
	}
	return list
}

func appendAddresses(b []byte, list []Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		b = appendAddress(b, &list[i])
	}
	return append(b, ')')
}

func appendAddress(b []byte, a *Address) []byte {
	switch {
	case a.Start:
		b = append(b, "(NIL NIL "...)
		b = AppendString(b, []byte(a.Mailbox))
		return append(b, " NIL)"...)
	case a.End:
		return append(b, "(NIL NIL NIL NIL)"...)
	}
	b = append(b, '(')
	if a.HasName {
		b = appendHumans(b, []byte(a.Name))
	} else {
		b = append(b, "NIL"...)
	}
	b = append(b, ' ')
	if a.Route != "" {
		b = AppendString(b, []byte(a.Route))
	} else {
		b = append(b, "NIL"...)
	}
	b = append(b, ' ')
	b = AppendString(b, []byte(a.Mailbox))
	b = append(b, ' ')
	b = AppendString(b, []byte(a.Domain))
	return append(b, ')')
}

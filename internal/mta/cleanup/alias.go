package cleanup

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// replyAlias is the reply to a recipient whose aliases have no end.
var replyAlias = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 6, 0}, Text: "Alias expansion error"}

const aliasParam = "virtual_alias_maps"

// aliases expands an address with virtual(5), again and again until nothing is found. An
// address that maps to itself is final.
func (m *Message) aliases(addr string) []string {
	c := m.c
	all := []string{addr}
	var final map[string]bool
	for i := 0; i < len(all); i++ {
		if len(all) > c.set.AliasExpansionLimit {
			return m.unreasonable("map expansion size for "+addr, addr)
		}
		for depth := 0; !final[strings.ToLower(all[i])]; depth++ {
			if depth >= c.set.AliasRecursionLimit {
				return m.unreasonable("map nesting for "+addr, addr)
			}
			results, err := c.res.Map(m.ctx, c.log, aliasParam, c.aliasMaps, all[i], c.res.Propagates("virtual"))
			if err != nil {
				m.lookupFailed(aliasParam, " for "+addr)
				return []string{addr}
			}
			if len(results) == 0 {
				break
			}
			was := all[i]
			for k, result := range results {
				if len(result) > c.set.AliasAddressLengthLimit {
					return m.unreasonable("result "+result[:min(len(result), 300)]+"...", addr)
				}
				if k == 0 {
					all[i] = result
				} else {
					all = append(all, result)
				}
				if strings.EqualFold(was, result) {
					if final == nil {
						final = map[string]bool{}
					}
					final[strings.ToLower(was)] = true
				}
			}
		}
	}
	return all
}

// unreasonable refuses a message for aliases without end.
func (m *Message) unreasonable(what, addr string) []string {
	m.c.log.Warningf("%s: unreasonable %s %s -- message not accepted, try again later", m.id, aliasParam, what)
	m.refuse(deferred, replyAlias)
	return []string{addr}
}

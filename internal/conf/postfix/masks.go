package postfix

import (
	"fmt"
	"net/netip"
	"strings"
)

// withoutMasks returns m with the masks in inet_interfaces taken away. Red Hat's
// manual writes 127.0.0.1/32 and [::1]/128 there, which can only mean the
// address; Postfix looks them up as host names.
func (m *Main) withoutMasks() *Main {
	wanted, _, err := m.Expand("inet_interfaces")
	if err != nil {
		return m
	}
	items := SplitList(wanted)
	var masked []string
	for i, item := range items {
		addr, _, found := strings.Cut(item, "/")
		if _, err := netip.ParseAddr(strings.Trim(addr, "[]")); found && err == nil {
			masked = append(masked, item)
			items[i] = addr
		}
	}
	if masked == nil {
		return m
	}
	bare := strings.Join(items, ", ")
	m.warn(fmt.Sprintf("inet_interfaces has addresses, not networks, and no place for the mask of %s; write: inet_interfaces = %s",
		strings.Join(masked, ", "), bare))
	return m.With(map[string]string{"inet_interfaces": bare})
}

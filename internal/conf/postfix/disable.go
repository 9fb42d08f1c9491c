package postfix

import (
	"slices"
	"strings"
)

// Disable takes the services that master_service_disable names out: by type
// ("inet") or by name and type ("submission/inet"). The first pattern that fits
// decides; one with an exclamation mark in front keeps the service.
func (m *Master) Disable(patterns string) {
	list := SplitList(patterns)
	m.Services = slices.DeleteFunc(m.Services, func(s ServiceEntry) bool {
		for _, p := range list {
			name := strings.TrimLeft(p, "!")
			if named := s.Name + "/" + s.Type; name == s.Type || name == named || olderPattern(name) == named {
				return (len(p)-len(name))%2 == 0
			}
		}
		return false
	})
}

// olderPattern turns name.type, which Postfix once wanted, into name/type.
func olderPattern(p string) string {
	if i := strings.LastIndexByte(p, '.'); i >= 0 && slices.Contains(ServiceTypes, p[i+1:]) {
		return p[:i] + "/" + p[i+1:]
	}
	return p
}

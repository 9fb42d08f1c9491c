package dovecot

import "strings"

// clientPrograms are the executables of services that an administrator adds. All others are this program, whatever
// the setting says.
var clientPrograms = map[string]bool{"script": true, "quota-status": true}

// Executable returns the words of the setting executable of a service if it is one of those that an administrator
// adds: script with the program that it runs for each client, and quota-status. nil for all others.
func (c *Config) Executable(service string) []string {
	for _, s := range c.view(Filter{}).sub(schema().root.keys["service"], service) {
		if v, ok := s.keys["executable"]; ok {
			return clientProgram(v.text)
		}
	}
	return nil
}

func clientProgram(executable string) []string {
	words := strings.Fields(executable)
	if len(words) == 0 || !clientPrograms[words[0]] {
		return nil
	}
	return words
}

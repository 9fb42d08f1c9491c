package doveadm

import "slices"

// runKick ends sessions. Dovecot ends processes, which may have sessions of others and
// then need -f; here nobody else's session is touched.
func runKick(in *invocation) error {
	masks := in.array("mask")
	if len(masks) == 0 {
		return withStatus(exUsage, "user and/or ip[/bits] must be specified.")
	}
	filter, err := newSessionFilter(masks)
	if err != nil {
		return err
	}
	c, err := in.dialAnvil()
	if err != nil {
		return err
	}
	defer c.Close()
	lines, err := in.sessions(c)
	if err != nil {
		return err
	}
	var kicked []string
	for _, l := range lines {
		if !filter.matches(&l) {
			continue
		}
		n, err := c.Kick(&l)
		if err != nil {
			return fatalf(exTempFail, "anvil: %v", err)
		}
		if n > 0 && !slices.Contains(kicked, l.User) {
			kicked = append(kicked, l.User)
		}
	}
	if len(kicked) == 0 {
		in.stdout.put("no users kicked\n")
		return exitStatus(exNotFound)
	}
	slices.Sort(kicked)
	in.printKicked(kicked)
	return nil
}

// printKicked prints the names. Unless -f asks for another format they are on one line,
// each with a blank behind it.
func (in *invocation) printKicked(users []string) {
	const title = "kicked connections from the following users:\n"
	if in.global.format != "" {
		in.stdout.put(title)
		in.column("result", 0)
		for _, user := range users {
			in.row(user)
		}
		return
	}
	for _, user := range users {
		in.stdout.put(user + " ")
	}
	// As Dovecot's where its output is no terminal: there the title comes behind the names.
	in.stdout.put(title + "\n")
}

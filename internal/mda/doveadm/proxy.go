package doveadm

import (
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/ipc"
)

// proxyCommands are about the sessions that login processes relay to other servers.
var proxyCommands = []*command{
	{
		name: "proxy kick", usage: "[-a <ipc socket path>] [-f <passdb field>] [-h <host> [...] | <user> [...]]", format: "formatted",
		params: []param{option('a', "socket-path"), option('f', "passdb-field"), option('h', "host"), arguments("user")}, plain: runProxyKick,
	},
	{
		name: "proxy list", usage: "[-a <ipc socket path>]", format: "table",
		params: []param{option('a', "socket-path")}, plain: runProxyList,
	},
}

// askProxies asks the socket that knows relayed sessions.
func (in *invocation) askProxies(each func(fields []string), command ...string) (string, error) {
	path, ok := in.text("socket-path")
	if !ok {
		var err error
		if path, err = in.baseDir("ipc"); err != nil {
			return "", err
		}
	}
	end, err := ipc.Ask(path, each, command...)
	var said ipc.Error
	if err != nil && !errors.As(err, &said) {
		in.log.errorf("connect(%s) failed: %s", path, reason(err))
		err = ipc.Error("ipc connect failed")
	}
	return end, err
}

// proxyTitles are those of the columns that have others than their names.
var proxyTitles = map[string]string{"service": "proto", "src-ip": "src ip", "dest-ip": "dest ip", "dest-port": "port"}

func runProxyList(in *invocation) error {
	header := true
	_, err := in.askProxies(func(fields []string) {
		if !header {
			in.row(fields...)
			return
		}
		header = false
		for _, name := range fields {
			switch title := proxyTitles[name]; {
			case title != "":
				in.titled(name, title, 0)
			case name == "username" || strings.HasPrefix(name, "user_"):
				in.column(name, expand)
			default:
				in.column(name, 0)
			}
		}
	}, "LIST-FULL")
	if err != nil {
		in.log.errorf("LIST-FULL failed: %v", err)
	}
	return nil
}

func runProxyKick(in *invocation) error {
	users := in.array("user")
	host, byHost := in.text("host")
	field, byField := in.text("passdb-field")
	var command []string
	switch {
	case byHost:
		command = []string{"KICK-HOST", host}
	case len(users) == 0:
		return errUsage
	case byField:
		command = []string{"KICK-ALT", field}
	default:
		command = []string{"KICK"}
	}
	count, err := in.askProxies(nil, append(command, users...)...)
	if err != nil {
		in.log.errorf("KICK failed: %v", err)
		return exitStatus(exTempFail)
	}
	if count == "" {
		count = "0"
	}
	in.stdout.put(count + " connections kicked\n")
	return nil
}

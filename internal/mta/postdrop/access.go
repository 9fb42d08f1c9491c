package postdrop

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// defaultDirectory is where the system's configuration is.
const defaultDirectory = "/etc/postfix"

// confined returns the configuration directory if the caller may name it. The
// superuser may name any, and whoever has no rights here that are not his own.
func confined(dir string) (string, error) {
	if dir == "" || dir == defaultDirectory {
		return defaultDirectory, nil
	}
	if os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() {
		return dir, nil
	}
	if os.Getuid() == 0 && os.Geteuid() == 0 {
		return dir, nil
	}
	main, err := postfix.Load(defaultDirectory)
	if err != nil {
		return "", err
	}
	for _, param := range []string{"alternate_config_directories", "multi_instance_directories"} {
		value, _, err := main.Expand(param)
		if err != nil {
			return "", err
		}
		if slices.Contains(postfix.SplitList(value), dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("unauthorized configuration directory name: %s: specify \"alternate_config_directories = %s\" in %s/main.cf", dir, dir, defaultDirectory)
}

// allows tells whether a list of users has a name. Tables are not opened here: who
// comes as far as one is let through, and judged by the pickup service, which
// looks at the owner of the file.
func allows(list, name string) (bool, error) {
	for _, item := range postfix.SplitList(list) {
		negate := false
		for strings.HasPrefix(item, "!") {
			negate, item = !negate, item[1:]
		}
		switch {
		case item == "":
			return false, errors.New("no pattern after '!'")
		case strings.HasPrefix(item, "static:"):
			return !negate, nil
		case strings.HasPrefix(item, "/"), strings.Contains(item, ":"):
			return true, nil
		case strings.EqualFold(item, name):
			return !negate, nil
		}
	}
	return false, nil
}

package sendmail

import (
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
)

// fullName is the name of a sender for a From header: what the environment says,
// or the account's, in which "&" stands for the login name.
func fullName(u submitter.User) string {
	if name := os.Getenv("NAME"); name != "" {
		return name
	}
	name := u.Gecos
	if i := strings.IndexAny(name, ",;%"); i >= 0 {
		name = name[:i]
	}
	if u.Name == "" {
		return name
	}
	return strings.ReplaceAll(name, "&", strings.ToUpper(u.Name[:1])+u.Name[1:])
}

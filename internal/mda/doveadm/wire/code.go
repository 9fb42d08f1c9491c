package wire

import "strconv"

// The exit statuses that have names in answers.
const (
	exUsage    = 64
	exData     = 65
	exNoUser   = 67
	exNotFound = 68 // EX_NOHOST
	exTempFail = 75
	exProtocol = 76
	exNoPerm   = 77
	exNoSync   = 1001 // the user is not replicated
)

var codes = map[int]string{
	exUsage: "USAGE", exData: "DATAERR", exNoUser: "NOUSER", exNotFound: "NOTFOUND", exTempFail: "TEMPFAIL",
	exProtocol: "PROTOCOL", exNoPerm: "NOPERM", exNoSync: "NOREPLICATE",
}

// Code returns the name that an exit status other than 0 has in answers.
func Code(status int) string {
	if name, ok := codes[status]; ok {
		return name
	}
	return "UNKNOWN"
}

// statusOf returns the exit status of a name.
func statusOf(code string) int {
	for status, name := range codes {
		if name == code {
			return status
		}
	}
	if n, err := strconv.Atoi(code); err == nil && n != 0 {
		return n
	}
	return exTempFail
}

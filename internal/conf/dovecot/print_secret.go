package dovecot

import "strings"

// secretWords begin words whose value is hidden: "key", "pass", "secret_api_key".
// An address of one of the schemes may have a password in it.
var secretWords = []string{"key", "secret", "pass", "http://", "https://", "ftp://"}

const hiddenWord = "#hidden_use-P_to_show#"

// appendHidden appends value without its secrets and returns true if the value is such that
// any were looked for. It is then written even where Dovecot forgets the quotes around it.
func appendHidden(b []byte, key, value string, quote bool) ([]byte, bool) {
	if value != "" && secretKey(key) {
		return append(b, "# hidden, use -P to show it"...), true
	}
	add := func(s string) {
		if quote {
			b = appendEscaped(b, s)
		} else {
			b = append(b, s...)
		}
	}
	done, at := 0, 0 // what is written, where to look on
	any := false
	for {
		i, word := nextSecret(value[at:])
		if word == "" {
			break
		}
		any = true
		at += i
		if strings.HasSuffix(word, "://") {
			at += len(word)
			add(value[done:at])
			end := userEnd(value, at)
			if end > at && end < len(value) && value[end] == '@' {
				b = append(b, hiddenWord...)
			} else {
				add(value[at:end])
			}
			done, at = end, end
			continue
		}
		if at > 0 && isAlnum(value[at-1]) {
			at++ // "nopassword" is no secret
			continue
		}
		at = secretValue(value, at)
		add(value[done:at])
		if at < len(value) && value[at] == '=' {
			b = append(append(b, '='), hiddenWord...)
			for at < len(value) && !isSpace(value[at]) && value[at] != ';' && value[at] != ':' {
				at++
			}
		}
		done = at
	}
	if any {
		add(value[done:])
	}
	return b, any
}

// secretKey reports whether the whole value of a setting is hidden.
func secretKey(key string) bool {
	for _, suffix := range []string{"_password", "_key", "_nonce"} {
		if len(key) > len(suffix) && strings.HasSuffix(key, suffix) {
			return true
		}
	}
	return strings.HasPrefix(key, "ssl_dh")
}

// nextSecret finds the first of secretWords.
func nextSecret(s string) (at int, word string) {
	for _, w := range secretWords {
		if i := strings.Index(s, w); i >= 0 && (word == "" || i < at) {
			at, word = i, w
		}
	}
	return at, word
}

// userEnd finds the end of "user:password" in an address.
func userEnd(s string, i int) int {
	for i < len(s) && !isSpace(s[i]) && s[i] != '/' && s[i] != '@' {
		i++
	}
	return i
}

// secretValue skips the word at i, to its '=' or what follows the blanks after it.
func secretValue(s string, i int) int {
	for i < len(s) && s[i] != '=' && !isSpace(s[i]) {
		i++
	}
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

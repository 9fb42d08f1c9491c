package accounts

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// luaScript answers in a way of its own for each user.
const luaScript = `#!/usr/bin/lua
local started = false

function script_init()
  started = true
  return 0
end

local auth = dovecot.auth

function auth_passdb_lookup(req)
  local user = req.user
  if not started then return auth.PASSDB_RESULT_INTERNAL_FAILURE, "not started" end
  if user == "alice" then return auth.PASSDB_RESULT_OK, "password=secret nologin reason=text" end
  if user == "table" then return auth.PASSDB_RESULT_OK, { password = "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=" } end
  if user == "number" then return auth.PASSDB_RESULT_OK, { password = 1234 } end
  if user == "bool" then return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", nologin = true } end
  if user == "scheme" then return auth.PASSDB_RESULT_OK, { password = "$5$XtUywQCSjW0zAJgE$YjuPKQnsLuH4iE9kranZyy1lbil5IrRUfs7X6EyJyG1" } end
  if user == "nopassword" then return auth.PASSDB_RESULT_OK, "nopassword=y" end
  if user == "both" then return auth.PASSDB_RESULT_OK, "nopassword=y password=x" end
  if user == "none" then return auth.PASSDB_RESULT_OK, "reason=none" end
  if user == "bad" then return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", reason = {} } end
  if user == "unknown" then return auth.PASSDB_RESULT_USER_UNKNOWN, "no such user" end
  if user == "disabled" then return auth.PASSDB_RESULT_USER_DISABLED, "" end
  if user == "expired" then return auth.PASSDB_RESULT_PASS_EXPIRED, {} end
  if user == "failure" then return auth.PASSDB_RESULT_INTERNAL_FAILURE, "a reason" end
  if user == "failtable" then return auth.PASSDB_RESULT_INTERNAL_FAILURE, {} end
  if user == "mismatch" then return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "x" end
  if user == "next" then return auth.PASSDB_RESULT_NEXT, "reason=added" end
  if user == "unavailable" then return auth.PASSDB_RESULT_SCHEME_NOT_AVAILABLE, "x" end
  if user == "one" then return auth.PASSDB_RESULT_OK end
  if user == "nothing" then return end
  if user == "words" then return "yes", "no" end
  if user == "vars" then
    return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", reason = req:var_expand("%u %s %{rip} %{session}") .. "|" .. req.service .. "|" .. req.rip .. "|" .. tostring(req.domain) .. "|" .. tostring(req.nosuch) .. "|" .. tostring(req.login_user) }
  end
  if user == "template" then
    local t = req:response_from_template("password={PLAIN}secret reason=%u/%s")
    return auth.PASSDB_RESULT_OK, t
  end
  if user == "flags" then
    return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", reason = tostring(dovecot.has_flag(6, 2)) .. tostring(dovecot.has_flag(5, 2)) .. string.format("%d %d", dovecot.set_flag(4, 1), dovecot.clear_flag(7, 2)) }
  end
  if user == "logs" then
    dovecot.i_info("info") dovecot.i_warning("warning") dovecot.i_error("error")
    req:log_info("request info") req:log_warning("request warning") req:log_error("request error")
    req:event():log_info("event info")
    req:event():append_log_prefix("more: "):log_warning("event warning")
    return auth.PASSDB_RESULT_OK, "password=secret"
  end
  if user == "verify" then
    local a, why = req:password_verify("{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=", "secret")
    local b = req:password_verify("secret", "wrong")
    local c, unknown = req:password_verify("{NOSUCH}x", "x")
    return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", reason = string.format("%d %s %d %d %s", a, tostring(why), b, c, unknown) }
  end
  if user == "raise" then error("raised on purpose") end
  if user == "global" then
    dovecot.restrict_global_variables(true)
    local ok = pcall(function() undeclared = 1 end)
    dovecot.restrict_global_variables(false)
    return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", reason = tostring(ok) }
  end
  if user == "fields" then return auth.PASSDB_RESULT_OK, { password = "{PLAIN}secret", userdb_home = "/srv/x" } end
  return auth.PASSDB_RESULT_USER_UNKNOWN, {}
end

function auth_userdb_lookup(req)
  local user = req.user
  if user == "alice" then return auth.USERDB_RESULT_OK, "uid=8 gid=8 home=/srv/" .. user end
  if user == "table" then return auth.USERDB_RESULT_OK, { home = "/srv/" .. user } end
  if user == "unknown" then return auth.USERDB_RESULT_USER_UNKNOWN, "unknown" end
  if user == "failure" then return auth.USERDB_RESULT_INTERNAL_FAILURE, "a reason" end
  if user == "failtable" then return auth.USERDB_RESULT_INTERNAL_FAILURE, {} end
  if user == "words" then return "yes", "no" end
  if user == "one" then return auth.USERDB_RESULT_OK end
  if user == "raise" then error("raised on purpose") end
  return auth.USERDB_RESULT_USER_UNKNOWN, {}
end

function auth_userdb_iterate()
  return { "alice", "bob@example.com" }
end
`

const luaRequests = `AUTH alice / secret
AUTH alice / wrong
AUTH alice /
AUTH table / secret
AUTH table / wrong
AUTH number / 1234
AUTH bool / secret
AUTH scheme / password
AUTH nopassword / anything
AUTH both / x
AUTH none / x
AUTH bad / secret
AUTH unknown / secret
AUTH disabled / secret
AUTH expired / secret
AUTH failure / secret
AUTH failtable / secret
AUTH mismatch / secret
AUTH next / secret
AUTH unavailable / secret
AUTH one / secret
AUTH nothing / secret
AUTH words / secret
AUTH vars / secret
AUTH template / secret
AUTH flags / secret
AUTH logs / secret
AUTH verify / secret
AUTH global / secret
AUTH fields / secret
AUTH stranger / secret
CRAM-MD5 alice / secret
CRAM-MD5 alice / wrong
CRAM-MD5 table / secret
USER alice
USER table
USER unknown
USER failure
USER failtable
USER words
USER one
PASS alice
PASS unknown
PASS failure
LIST
`

// luaVerifyScript checks passwords itself.
const luaVerifyScript = `local auth = dovecot.auth
function auth_password_verify(req, password)
  if req.user == "raise" then error("raised on purpose") end
  if req.user == "failure" then return auth.PASSDB_RESULT_INTERNAL_FAILURE, "a reason" end
  if req.user == "failtable" then return auth.PASSDB_RESULT_INTERNAL_FAILURE, {} end
  if req.user == "unknown" then return auth.PASSDB_RESULT_USER_UNKNOWN, "unknown" end
  if req.user == "disabled" then return auth.PASSDB_RESULT_USER_DISABLED, "disabled" end
  if req.user == "words" then return "yes", "no" end
  if req.user == "one" then return auth.PASSDB_RESULT_OK end
  if req.user == "truth" then return true, {} end
  if password == "secret" then return auth.PASSDB_RESULT_OK, { user = req.user .. "@example.com" } end
  return auth.PASSDB_RESULT_PASSWORD_MISMATCH, {}
end
`

const luaVerifyRequests = `AUTH alice / secret
AUTH alice / wrong
AUTH alice /
AUTH failure / secret
AUTH failtable / secret
AUTH unknown / secret
AUTH disabled / secret
AUTH words / secret
AUTH one / secret
AUTH truth / secret
CRAM-MD5 alice / secret
PASS alice
USER alice
LIST
`

// TestLua plays what functions of a script can answer.
func TestLua(t *testing.T) {
	t.Parallel()
	files := func(script, passdbArgs, requests string) map[string]string {
		return map[string]string{
			"script.lua": script, "requests": requests,
			"dovecot.conf": "auth_verbose = yes\nauth_mechanisms = plain cram-md5\npassdb {\n  driver = lua\n  args = file=@DIR@/script.lua " + passdbArgs + "\n}\n" +
				"userdb {\n  driver = lua\n  args = file=@DIR@/script.lua\n}\n",
		}
	}
	for name, scenario := range map[string]map[string]string{
		"lookup":       files(luaScript, "scheme=SHA256-CRYPT", luaRequests),
		"not blocking": files(luaScript, "blocking=no cache_key=%u", "AUTH alice / secret\nAUTH alice / wrong\nAUTH failure / secret\nUSER alice\n"),
		"verify":       files(luaVerifyScript, "", luaVerifyRequests),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := play(t, harness.Original, scenario), play(t, harness.Dovetail, scenario)
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
			}
		})
	}
}

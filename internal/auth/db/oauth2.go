package db

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

// oauth2DB is oauth2. The password is a bearer token (RFC 6750), which the server that gave
// it to the client is asked about, or whose signature is checked here; or it
// is exchanged for one. That server's answer, or the token, has fields, and one of
// them must be the user's name.
type oauth2DB struct {
	set    *ext.OAuth2
	server *oauth2Server
	keys   *jwtKeys // nil unless tokens are checked here
	attrs  []oauth2Attr
	grant  bool
}

// An oauth2Attr is an item of pass_attrs.
type oauth2Attr struct {
	field, template string
}

func openOAuth2(env *Env, path string) (Passdb, error) {
	set, err := ext.LoadOAuth2(env.ExtFiles, path, env.warn)
	if err != nil {
		return nil, err
	}
	o := &oauth2DB{set: set, grant: set.UseGrantPassword}
	for item := range strings.SplitSeq(set.PassAttrs, " ") {
		field, template, _ := strings.Cut(item, "=")
		switch {
		case item == "":
			continue
		case field == "":
			return nil, fmt.Errorf("Invalid passdb template %s - key must not be empty", set.PassAttrs)
		}
		o.attrs = append(o.attrs, oauth2Attr{field, template})
	}
	if text := set.OpenIDConfigurationURL; text != "" {
		u, err := url.Parse(text)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return nil, fmt.Errorf("Invalid openid_configuration_url: %s", text)
		}
	}
	if set.MaxPipelinedRequests != 1 {
		env.warn(path + ": setting max_pipelined_requests has no effect")
	}
	if o.server, err = newOAuth2Server(env, set); err != nil {
		return nil, fmt.Errorf("oauth2 %s: %w", path, err)
	}
	if set.IntrospectionMode == "local" {
		dictEnv := &dict.Env{BaseDir: env.Settings.BaseDir, Named: env.Settings.Dicts, Files: env.ExtFiles, Warn: env.warn}
		keys, err := dict.Open(dictEnv, set.LocalValidationKeyDict)
		if err != nil {
			return nil, fmt.Errorf("Cannot initialize key dict: %w", err)
		}
		o.keys = &jwtKeys{keys}
	}
	return o, nil
}

// Blocking implements [Passdb].
func (o *oauth2DB) Blocking() bool { return true }

// PassdbCacheKey implements [CachedPassdb].
func (o *oauth2DB) PassdbCacheKey() (string, bool) {
	if o.grant {
		return "%u", true
	}
	return "%u%w", true
}

// Verify implements [Verifier].
func (o *oauth2DB) Verify(ctx context.Context, r *Request, password string) error {
	l := &oauth2Lookup{oauth2DB: o, r: r, token: password, fields: make(map[string]string)}
	err := l.verify(ctx)
	if err == nil {
		r.SetField(Field{Name: "token", Value: l.token})
		return nil
	}
	r.OpenIDConfiguration = o.set.OpenIDConfigurationURL
	for _, answer := range [...]error{ErrMismatch, ErrUnknownUser, ErrDisabled} {
		if errors.Is(err, answer) {
			r.Infof("oauth2 failed: %v", err)
			return Told(answer)
		}
	}
	r.Errorf("oauth2 failed: %v", err)
	return Told(err)
}

// An oauth2Refusal is why a token does not let the user in: one of the answers of a
// database, in other words.
type oauth2Refusal struct {
	answer error
	text   string
}

func (e *oauth2Refusal) Error() string { return e.text }
func (e *oauth2Refusal) Unwrap() error { return e.answer }

func refuse(answer error, format string, args ...any) error {
	return &oauth2Refusal{answer, fmt.Sprintf(format, args...)}
}

// An oauth2Lookup is one password that is looked at.
type oauth2Lookup struct {
	*oauth2DB
	r      *Request
	token  string
	fields map[string]string // what is known of it
}

func (l *oauth2Lookup) verify(ctx context.Context) error {
	if l.token == "" {
		return refuse(ErrMismatch, "Token validation failed: Invalid token")
	}
	switch {
	case l.grant:
		return l.exchange(ctx)
	case l.keys != nil:
		return l.validate(ctx)
	case l.set.TokeninfoURL == "":
		return l.introspect(ctx)
	}
	const prefix = "Token validation failed: %w"
	reply, err := l.server.tokeninfo(ctx, l.r, l.token)
	switch {
	case err != nil:
		return fmt.Errorf(prefix, err)
	case !reply.valid:
		return fmt.Errorf(prefix, refuse(ErrMismatch, "Invalid token"))
	}
	return l.goOn(ctx, reply.fields, prefix)
}

// exchange has the password exchanged for a token (RFC 6749 4.3).
func (l *oauth2Lookup) exchange(ctx context.Context) error {
	const prefix = "Password grant failed: %w"
	reply, err := l.server.grant(ctx, l.r, l.token)
	if err != nil {
		return fmt.Errorf(prefix, err)
	}
	given := func(name string) (string, bool) {
		i := slices.IndexFunc(reply.fields, func(f Field) bool { return f.Name == name })
		if i < 0 {
			return "", false
		}
		return reply.fields[i].Value, true
	}
	if !reply.valid {
		code, ok := given("error")
		switch {
		case !ok:
			code = "OAuth2 server returned failure without error field"
		case code == "invalid_grant":
			return fmt.Errorf(prefix, refuse(ErrMismatch, "%s", code))
		}
		return fmt.Errorf(prefix, errors.New(code))
	}
	token, ok := given("access_token")
	if !ok || token == "" || strings.ContainsAny(token, "\r\n") {
		return fmt.Errorf(prefix, errors.New("OAuth2 token missing from reply"))
	}
	l.token = token
	return l.goOn(ctx, reply.fields, prefix)
}

// goOn asks for more if what is known of the token does not suffice, and then decides.
func (l *oauth2Lookup) goOn(ctx context.Context, fields []Field, prefix string) error {
	l.merge(fields)
	if !l.set.ForceIntrospection && l.suffices() {
		return wrap(prefix, l.decide())
	}
	if l.keys != nil {
		return l.validate(ctx)
	}
	if err := l.enabled(); err != nil {
		return fmt.Errorf("Token is not valid: %w", err)
	}
	if l.set.IntrospectionURL != "" {
		return l.introspect(ctx)
	}
	return wrap(prefix, l.decide())
}

func wrap(prefix string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(prefix, err)
}

// introspect asks about the token (RFC 7662).
func (l *oauth2Lookup) introspect(ctx context.Context) error {
	const prefix = "Introspection failed: %w"
	reply, err := l.server.introspect(ctx, l.r, l.token)
	if err != nil {
		return fmt.Errorf(prefix, err)
	}
	l.merge(reply.fields)
	if err := l.decide(); err != nil {
		return fmt.Errorf(prefix, err)
	}
	if _, told := l.fields[l.set.ActiveAttribute]; !told && l.set.ActiveAttribute != "" && l.set.IntrospectionMode == "post" {
		// RFC 7662 2.2 requires it. Servers that are asked otherwise are not of this RFC.
		return fmt.Errorf(prefix, refuse(ErrMismatch, "Missing active_attribute in the answer"))
	}
	if !reply.valid {
		// Dovecot goes by the fields of an error, too.
		return fmt.Errorf(prefix, refuse(ErrMismatch, "Invalid token"))
	}
	return nil
}

// validate checks the token here: it is a JWT.
func (l *oauth2Lookup) validate(ctx context.Context) error {
	const prefix = "Local validation failed: %w"
	fields, err := l.keys.validate(ctx, l.set, l.token)
	if err != nil {
		return fmt.Errorf(prefix, err)
	}
	l.merge(fields)
	return wrap(prefix, l.decide())
}

func (l *oauth2Lookup) merge(fields []Field) {
	for _, f := range fields {
		l.fields[f.Name] = f.Value
	}
}

// suffices reports whether all fields that are needed are known.
func (l *oauth2Lookup) suffices() bool {
	for _, a := range l.attrs {
		missing := false
		_, err := dovecot.ExpandVars(a.template, &dovecot.Vars{Func: func(name, arg string) (string, bool, error) {
			if name == "oauth2" {
				field, _, _ := strings.Cut(arg, ":")
				_, known := l.fields[field]
				missing = missing || !known
			}
			return "", true, nil
		}})
		if err == nil && missing {
			return false
		}
	}
	_, name := l.fields[l.set.UsernameAttribute]
	_, active := l.fields[l.set.ActiveAttribute]
	return name && (active || l.set.ActiveAttribute == "")
}

// decide checks what is known of the token, and sets the fields of the passdb.
func (l *oauth2Lookup) decide() error {
	for _, check := range [...]func() error{l.enabled, l.isUser, l.inScope, l.export} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// enabled checks the field that tells whether the token is valid, if there is one.
func (l *oauth2Lookup) enabled() error {
	value, ok := l.fields[l.set.ActiveAttribute]
	if l.set.ActiveAttribute != "" && ok && value != l.set.ActiveValue {
		return refuse(ErrMismatch, "Provided token is not valid")
	}
	return nil
}

// isUser checks that the token is the user's.
func (l *oauth2Lookup) isUser() error {
	value, ok := l.fields[l.set.UsernameAttribute]
	if !ok {
		return errors.New("No username returned")
	}
	local, domain, _ := strings.Cut(value, "@")
	want, err := l.r.Expand(l.set.UsernameFormat)
	if err != nil {
		return fmt.Errorf("var_expand(%s) failed: %w", l.set.UsernameFormat, err)
	}
	have, err := dovecot.ExpandVars(l.set.UsernameFormat, &dovecot.Vars{Table: []dovecot.Var{
		{Key: 'u', Name: "user", Value: value}, {Key: 'n', Name: "username", Value: local}, {Key: 'd', Name: "domain", Value: domain},
	}})
	switch {
	case err != nil:
		return fmt.Errorf("var_expand(%s) failed: %w", l.set.UsernameFormat, err)
	case want != have:
		return refuse(ErrUnknownUser, "Username '%s' did not match '%s'", want, have)
	}
	return nil
}

// inScope checks that the token has the scopes wanted. One without any is taken by its
// audience, of which Dovecot warns.
func (l *oauth2Lookup) inScope() error {
	if l.set.Scope == "" {
		return nil
	}
	value, ok := l.fields["scope"]
	if !ok {
		if value, ok = l.fields["aud"]; ok {
			l.r.Log.Warningf("%sToken has no 'scope' claim; falling back to 'aud' for scope check is deprecated - use oauth2_audience instead", l.r.Prefix(l.r.Section))
		}
	}
	if !hasScopes(value, l.set.Scope) {
		return refuse(ErrDisabled, "Token is not valid for scope '%s'", l.set.Scope)
	}
	return nil
}

// hasScopes reports whether all the scopes wanted are in a list, in any letter case.
func hasScopes(list, wanted string) bool {
	separator := func(c rune) bool { return c == ' ' || c == ',' }
	has := strings.FieldsFunc(list, separator)
	for scope := range strings.FieldsFuncSeq(wanted, separator) {
		if !slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, scope) }) {
			return false
		}
	}
	return true
}

// export sets the fields of pass_attrs.
func (l *oauth2Lookup) export() error {
	lookup := func(name, arg string) (string, bool) {
		if name != "oauth2" {
			return "", false
		}
		field, otherwise, _ := strings.Cut(arg, ":")
		if value, ok := l.fields[field]; ok {
			return value, true
		}
		return otherwise, true
	}
	for _, a := range l.attrs {
		value, err := l.r.expandWith(a.template, expansion{dollar: l.fields[a.field], lookup: lookup})
		if err != nil {
			return fmt.Errorf("var_expand(%s) failed: %w", a.template, err)
		}
		l.r.SetField(Field{Name: a.field, Value: value})
	}
	return nil
}

var (
	_ Verifier     = (*oauth2DB)(nil)
	_ CachedPassdb = (*oauth2DB)(nil)
)

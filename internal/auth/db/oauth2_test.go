package db

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/dict"
)

// token makes a token with an HMAC.
func token(header, claims string, secret []byte) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// keysIn makes a directory of keys.
func keysIn(t testing.TB, keys map[string]string) *jwtKeys {
	t.Helper()
	dir := t.TempDir()
	for name, text := range keys {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := dict.Open(&dict.Env{}, "fs:posix:prefix="+dir+"/")
	if err != nil {
		t.Fatal(err)
	}
	return &jwtKeys{d}
}

// A public key, which everybody has, is never taken for a secret, and a secret never
// for a public key.
func TestKeyConfusion(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	keys := keysIn(t, map[string]string{
		"default/HS256/default": public, "default/RS256/default": public, "default/ES256/default": public, "default/EDDSA/default": public,
	})
	claims := fmt.Sprintf(`{"sub":"a","exp":%d}`, time.Now().Unix()+1000)
	for _, algorithm := range []string{"HS256", "RS256", "PS256", "ES256", "EdDSA", "none", "NONE", "", "HS1"} {
		text := token(`{"typ":"JWT","alg":"`+algorithm+`"}`, claims, []byte(public))
		for _, text := range []string{text, text[:strings.LastIndexByte(text, '.')+1]} {
			_, err := keys.validate(t.Context(), &ext.OAuth2{}, text)
			if !errors.Is(err, ErrMismatch) {
				t.Errorf("%s: %v", algorithm, err)
			}
		}
	}
}

// A token is for those whom its issuer has made it for, and only its outermost claims
// say who its owner is.
func TestClaims(t *testing.T) {
	secret := []byte("secret")
	keys := keysIn(t, map[string]string{"default/HS256/default": base64.StdEncoding.EncodeToString(secret)})
	exp := time.Now().Unix() + 1000
	for _, tt := range []struct{ claims, clientID, email, err string }{
		{`"email":"alice","more":{"email":"root","x":{"email":"root"}}`, "", "alice", ""},
		{`"more":{"email":"alice","x":{"email":"root"}}`, "", "alice", ""},
		{`"email":["root"]`, "", "", ""},
		{`"email":"alice","aud":"mail"`, "mail", "alice", ""},
		{`"email":"alice","aud":["x","mail"]`, "mail", "alice", ""},
		{`"email":"alice","aud":["x"]`, "mail", "", "client_id not found in aud field"},
		{`"email":"alice"`, "mail", "", "client_id set but aud is missing"},
	} {
		text := token(`{"typ":"JWT","alg":"HS256"}`, fmt.Sprintf(`{"sub":"a","exp":%d,%s}`, exp, tt.claims), secret)
		fields, err := keys.validate(t.Context(), &ext.OAuth2{ClientID: tt.clientID}, text)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s: %v, want %s", tt.claims, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.claims, err)
		}
		email := ""
		for _, f := range fields {
			if f.Name == "email" {
				email = f.Value
			}
		}
		if email != tt.email {
			t.Errorf("%s: %q, want %q", tt.claims, email, tt.email)
		}
	}
}

// A dictionary that cannot be asked is no word about the token.
func TestKeysNotReadable(t *testing.T) {
	keys := &jwtKeys{brokenDict{}}
	text := token(`{"typ":"JWT","alg":"HS256"}`, fmt.Sprintf(`{"sub":"a","exp":%d}`, time.Now().Unix()+1000), []byte("x"))
	if _, err := keys.validate(t.Context(), &ext.OAuth2{}, text); err == nil || errors.Is(err, ErrMismatch) {
		t.Errorf("%v", err)
	}
}

type brokenDict struct{}

func (brokenDict) Close() error { return nil }
func (brokenDict) Lookup(context.Context, dict.User, string) (string, error) {
	return "", errors.New("disk is broken")
}

// Nobody makes a token without the secret.
func FuzzJWT(f *testing.F) {
	keys := keysIn(f, map[string]string{"default/HS256/default": "c2VjcmV0LXRoYXQtbm9ib2R5LWtub3dz"})
	f.Add(token(`{"typ":"JWT","alg":"HS256"}`, `{"sub":"a","exp":9999999999}`, []byte("x")))
	f.Add(token(`{"typ":"JWT","alg":"none","kid":"../x"}`, `{"sub":"a","exp":9999999999,"azp":"%/"}`, nil))
	f.Fuzz(func(t *testing.T, text string) {
		if fields, err := keys.validate(context.Background(), &ext.OAuth2{}, text); err == nil {
			t.Errorf("%q: %v", text, fields)
		}
	})
}

// FuzzReply gives the parsers of answers and keys anything.
func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"email":"a@b","active":true,"expires_in":3600,"token_type":"Bearer","a":[1,{"b":null}],"c":{"d":"e"}}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}`))
	f.Add([]byte(`{"a":`))
	f.Fuzz(func(t *testing.T, body []byte) {
		reply, err := parseReply(true, body)
		if err == nil {
			for _, field := range reply.fields {
				if !isField(field.Name) {
					t.Errorf("field %q", field.Name)
				}
			}
		}
		if claims, err := parseClaims(body); err == nil {
			flatten(claims)
		}
		parsePublicKey(string(body)) //nolint:errcheck // it must not panic
	})
}

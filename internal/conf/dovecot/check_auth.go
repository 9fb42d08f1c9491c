package dovecot

import (
	"fmt"
	"slices"
	"strings"
)

func checkSSL(k *checker) error {
	if k.str("ssl") == "no" {
		return nil
	}
	if k.yes("ssl_verify_client_cert") && k.str("ssl_ca") == "" {
		return fmt.Errorf("ssl_verify_client_cert set, but ssl_ca not")
	}
	for _, w := range listWords(k.str("ssl_options")) {
		if !slices.Contains([]string{"compression", "no_compression", "no_ticket"}, strings.ToLower(w)) {
			return fmt.Errorf("ssl_options: unknown flag: '%s'", w)
		}
	}
	return nil
}

func checkAuth(k *checker) error {
	if k.uint("auth_worker_max_count") == 0 {
		return fmt.Errorf("auth_worker_max_count must be above zero")
	}
	if n := k.size("auth_cache_size"); n > 0 && n < 1024 {
		return fmt.Errorf("auth_cache_size value is too small (%d bytes)", n)
	}
	if err := checkVerbosePasswords(k.str("auth_verbose_passwords")); err != nil {
		return err
	}
	if k.str("auth_policy_server_url") != "" {
		if err := checkPolicy(k); err != nil {
			return err
		}
	}
	return checkDatabases(k)
}

func checkPolicy(k *checker) error {
	if k.str("auth_policy_hash_nonce") == "" {
		return fmt.Errorf("auth_policy_hash_nonce must be set when policy server is used")
	}
	h, ok := hashes[k.str("auth_policy_hash_mech")]
	if !ok || h.pkcs5 {
		return fmt.Errorf("invalid auth_policy_hash_mech given")
	}
	if cut, size := k.uint("auth_policy_hash_truncate"), uint32(h.new().Size()*8); cut >= size {
		return fmt.Errorf("policy_hash_truncate is not smaller than digest size (%d >= %d)", cut, size)
	}
	return nil
}

func checkVerbosePasswords(v string) error {
	kind, length, cut := strings.Cut(v, ":")
	if n, err := parseUint(length); cut && (err != nil || n == 0) {
		return fmt.Errorf("auth_verbose_passwords: Invalid truncation number: '%s'", length)
	}
	if !slices.Contains([]string{"no", "plain", "sha1", "yes"}, kind) {
		return fmt.Errorf("auth_verbose_passwords: Invalid value")
	}
	return nil
}

func checkDatabases(k *checker) error {
	for _, kind := range []string{"passdb", "userdb"} {
		for _, s := range k.list(kind) {
			if s.str("driver") == "" {
				return fmt.Errorf("%s is missing driver", kind)
			}
			if kind == "passdb" && s.str("pass") == "yes" && s.str("result_success") != "return-ok" {
				return fmt.Errorf("Obsolete pass=yes setting mixed with non-default result_success")
			}
		}
	}
	return nil
}

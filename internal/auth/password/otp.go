package password

import (
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/otp"
)

// verifyOTP computes the chain of hashes from the seed that is stored.
func verifyOTP(plain, _ string, data []byte) error {
	s, err := otp.Parse(string(data))
	if err != nil {
		return errors.New("Invalid OTP data in passdb")
	}
	h := s.Compute(plain)
	return equal(h[:], s.Hash[:])
}

func generateOTP(plain string, _ Options) ([]byte, error) {
	s := otp.New(plain)
	return []byte(s.String()), nil
}

// longChain reports whether the chain takes as long as an expensive hash.
func longChain(data string) bool {
	s, err := otp.Parse(strings.TrimSpace(data))
	return err == nil && s.Sequence > 5000
}

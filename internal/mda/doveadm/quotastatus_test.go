package doveadm

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestReadPolicy(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("request=smtpd_access_policy\nrecipient=a@b\nrecipient=c@d\nprotocol_state=RCPT\nsize=7\n\nsize=-1\n\nsize=5"), maxPolicyLine)
	if req, err := readPolicy(r); err != nil || req != (policyRequest{"RCPT", "a@b", 7}) {
		t.Errorf("%+v, %v", req, err)
	}
	if req, err := readPolicy(r); err != nil || req != (policyRequest{}) {
		t.Errorf("%+v, %v", req, err)
	}
	if _, err := readPolicy(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := readPolicy(bufio.NewReaderSize(strings.NewReader(strings.Repeat("x", 2*maxPolicyLine)), maxPolicyLine)); err == nil {
		t.Error("an endless line is taken")
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add("recipient=a@b\nsize=7\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		if req, err := readPolicy(bufio.NewReaderSize(strings.NewReader(text), maxPolicyLine)); err == nil && req.size < 0 {
			t.Errorf("%+v", req)
		}
	})
}

package postfix

import "testing"

func TestDiscrepancies(t *testing.T) {
	for _, d := range Discrepancies() {
		t.Error(d)
	}
}

func TestCore(t *testing.T) {
	m, err := Parse("/etc/postfix", "myhostname = mail.example.com\n")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Get[Core](m)
	t.Logf("%+v %v", c, err)
}

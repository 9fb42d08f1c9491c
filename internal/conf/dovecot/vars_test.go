package dovecot

import "testing"

func TestExpandVars(t *testing.T) {
	vars := &Vars{
		Table: []Var{{'u', "user", "bob@Mail.example.com"}, {'n', "username", "bob"}, {'d', "domain", "Mail.example.com"}, {'s', "", "255"}, {'b', "", "99"}},
		Func: func(name, arg string) (string, bool, error) {
			return "<" + arg + ">", name == "userdb", nil
		},
	}
	for _, tt := range []struct{ in, want, err string }{
		{in: "plain", want: "plain"},
		{in: "100%% %u", want: "100% bob@Mail.example.com"},
		{in: "%1n", want: "b"},
		{in: "%5.4u", want: "ail."},
		{in: "%-1.5n", want: "b"},
		{in: "%-2n", want: "bo"},
		{in: "%0.-1n", want: "bo"},
		{in: "%1.-4u", want: "ob@Mail.example"},
		{in: "%50.3n|", want: "|"},
		{in: "%05n", want: "00bob"},
		{in: "%03{user}", want: "bob@Mail.example.com"},
		{in: "%Lu", want: "bob@mail.example.com"},
		{in: "%1Un", want: "B"},
		{in: "%Ru", want: "moc.elpmaxe.liaM@bob"},
		{in: "%Xn", want: "0"},
		{in: "%08Xs", want: "000000ff"},
		{in: "%Mu", want: "7daa865edf6eda91324051a900dc542f"},
		{in: "%3Mu", want: "7da"},
		{in: "%256Hu", want: "7d"},
		{in: "%8Hu", want: "5"},
		{in: "%02.256Hn", want: "52"},
		{in: "%256Nu", want: "91"},
		{in: "%02.100Nn", want: "42"},
		{in: "%Dd", want: "Mail,dc=example,dc=com"},
		{in: "%5{user} %L{domain}", want: "bob@M mail.example.com"},
		{in: "%{sha1:user}", want: "ac899eebd252e47dc03c22dd470ef16ca1ae5cee"},
		{in: "%{sha1;truncate=32:user}", want: "ac899eeb"},
		{in: "%{sha1;truncate=12:user}", want: "0ac8"},
		{in: "%{sha256;truncate=16,format=base64:user}", want: "q54="},
		{in: "%16{sha256;rounds=2,salt=ab:user}", want: "c05c15a6140fc1e2"},
		{in: "%{if;%n;eq;bob;yes;no}", want: "yes"},
		{in: "%{if;%n;eq;bo\\;b;yes}|", want: "|"},
		{in: "%{if;%b;<;100;%{user};no}", want: "bob@Mail.example.com"},
		{in: "%{if;%n;*;b?b;y;n}%{if;%n;!~;^b;y;n}", want: "yn"},
		{in: "%{if;%n;==;1;a;b}", err: "if: bob (lhs) is not a number"},
		{in: "%{if;%n;x;1;a;b}", err: "if: Unsupported comparator 'x'"},
		{in: "%{userdb:quota}", want: "<quota>"},
		{in: "a%xb", want: "aUNSUPPORTED_VARIABLE_xb", err: "Unknown variable '%x'"},
		{in: "%{nosuch}", want: "UNSUPPORTED_VARIABLE_nosuch", err: "Unknown variable '%nosuch'"},
		{in: "%R2n", want: "UNSUPPORTED_VARIABLE_2n", err: "Unknown variable '%2'"},
		{in: "%{sha1;rounds=x:user}", want: "ac899eebd252e47dc03c22dd470ef16ca1ae5cee", err: "Cannot parse hash arguments:'x' is not number for rounds"},
		{in: "%{sha1;format=x:user}", err: "Cannot parse hash arguments:'x' is not supported format"},
	} {
		got, err := ExpandVars(tt.in, vars)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || text != tt.err {
			t.Errorf("ExpandVars(%q) = %q, %q; want %q, %q", tt.in, got, text, tt.want, tt.err)
		}
	}
}

func FuzzExpandVars(f *testing.F) {
	for _, s := range []string{"%u", "%-1.5n", "%02.256Hn", "%{if;%n;eq;bob;yes;no}", "%{sha256;salt=%{user}:user}", "%%", "%", "%{", "%099999999999.9Hu", "%LURXEMDTu"} {
		f.Add(s)
	}
	vars := &Vars{Table: []Var{{'u', "user", "bob@example.com"}, {'n', "username", "b\u00f6b"}}}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) < 200 {
			ExpandVars(s, vars)
		}
	})
}

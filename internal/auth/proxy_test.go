package auth

import (
	"context"
	"net/netip"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
)

// TestFinishProxy prepares fields about another server for who asked.
func TestFinishProxy(t *testing.T) {
	s := &Server{proxySelf: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}
	for _, tt := range []struct {
		name   string
		fields []db.Field
		want   string // of all fields
		fails  bool
	}{
		{"no proxy", []db.Field{{Name: "host", Value: "192.0.2.1"}}, "\thost=192.0.2.1", false},
		{"proxy", []db.Field{{Name: "proxy"}, {Name: "host", Value: "192.0.2.1"}}, "\tproxy\thost=192.0.2.1", false},
		{"maybe elsewhere", []db.Field{{Name: "proxy_maybe"}, {Name: "host", Value: "192.0.2.1"}}, "\thost=192.0.2.1\tproxy", false},
		{"maybe here", []db.Field{{Name: "proxy_maybe"}, {Name: "host", Value: "192.0.2.2"}, {Name: "x", Value: "y"}}, "\tx=y", false},
		{"maybe here, other port", []db.Field{{Name: "proxy_maybe"}, {Name: "host", Value: "192.0.2.2"}, {Name: "port", Value: "1143"}}, "\thost=192.0.2.2\tport=1143\tproxy", false},
		{"maybe here by auth_proxy_self", []db.Field{{Name: "proxy_maybe"}, {Name: "host", Value: "192.0.2.9"}}, "", false},
		{"bad hostip", []db.Field{{Name: "proxy"}, {Name: "host", Value: "a.invalid"}, {Name: "hostip", Value: "x"}}, "\thostip=x", true},
		{"no host", []db.Field{{Name: "proxy"}}, "\tproxy\tlip=192.0.2.2\tlport=143", false},
	} {
		r := &db.Request{Local: netip.MustParseAddrPort("192.0.2.2:143")}
		for _, f := range tt.fields {
			r.Fields.Set(f)
		}
		ok := s.finishProxy(context.Background(), r)
		if got := string(r.Fields.Append(nil)); ok == tt.fails || got != tt.want {
			t.Errorf("%s: %v, %q, want %q", tt.name, ok, got, tt.want)
		}
	}
}

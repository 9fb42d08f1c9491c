package cleanup

import (
	"context"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/google/go-cmp/cmp"
)

// The original recipients that reports and next hops see.
func TestOriginalRecipients(t *testing.T) {
	const tables = "recipient_canonical_maps = inline:{bob@example.com=robert@example.com}\nvirtual_alias_maps = inline:{list@example.com=carol@example.net}\n"
	const smtp, local = "bob@example.com", ""
	for _, test := range []struct {
		name, config string
		given, want  queue.Recipient
		utf8         bool
	}{
		{name: "by SMTP, the original address says it", config: tables,
			given: queue.Recipient{Address: "bob@example.com", Original: smtp},
			want:  queue.Recipient{Address: "robert@example.com", Original: smtp}},
		{name: "by SMTP, silent as copies are", config: tables,
			given: queue.Recipient{Address: "bob@example.com", Original: smtp, Notify: queue.NotifyNever},
			want:  queue.Recipient{Address: "robert@example.com", Original: smtp, Notify: queue.NotifyNever, DSNOrcpt: "rfc822;" + smtp}},
		{name: "named by the client", config: tables,
			given: queue.Recipient{Address: "bob@example.com", Original: smtp, DSNOrcpt: "rfc822;x@example.net"},
			want:  queue.Recipient{Address: "robert@example.com", Original: smtp, DSNOrcpt: "rfc822;x@example.net"}},
		{name: "submitted here: after canonical maps", config: tables,
			given: queue.Recipient{Address: "bob", Original: local},
			want:  queue.Recipient{Address: "robert@example.com", Original: "bob", DSNOrcpt: "rfc822;robert@example.com"}},
		{name: "submitted here: before aliases", config: tables,
			given: queue.Recipient{Address: "list", Original: local},
			want:  queue.Recipient{Address: "carol@example.net", Original: "list", DSNOrcpt: "rfc822;list@example.com"}},
		{name: "submitted here, no tables",
			given: queue.Recipient{Address: "bob", Original: local},
			want:  queue.Recipient{Address: "bob@example.com", Original: "bob", DSNOrcpt: "rfc822;bob@example.com"}},
		{name: "submitted here, not ASCII", utf8: true,
			given: queue.Recipient{Address: "bób", Original: local},
			want:  queue.Recipient{Address: "bób@example.com", Original: "bób", DSNOrcpt: "utf-8;bób@example.com"}},
		{name: "submitted here, not ASCII and not SMTPUTF8",
			given: queue.Recipient{Address: "bób", Original: local},
			want:  queue.Recipient{Address: "bób@example.com", Original: "bób", DSNOrcpt: "rfc822;bób@example.com"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t, test.config)
			got := f.envelopeOf(t, &queue.Envelope{Recipients: []queue.Recipient{test.given}, SMTPUTF8: test.utf8})
			if diff := cmp.Diff([]queue.Recipient{test.want}, got.Recipients); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// A redirected message goes to one recipient: what it has besides the address is that of the
// first by domain and address, as with Postfix.
func TestRedirect(t *testing.T) {
	f := newFixture(t, "")
	got := f.envelopeOf(t, &queue.Envelope{Redirect: "other", Recipients: []queue.Recipient{
		{Address: "late@sub.example.net", Original: "late@sub.example.net"},
		{Address: "zoe@a.example", Original: "zoe@a.example"},
		{Address: "list@A.example", Original: "list@A.example", Notify: queue.NotifyDelay},
	}})
	want := []queue.Recipient{{Address: "other@example.com", Original: "list@A.example", Notify: queue.NotifyDelay}}
	if diff := cmp.Diff(want, got.Recipients); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// envelopeOf is what becomes of an envelope by the way of mail from the network.
func (f *fixture) envelopeOf(t *testing.T, env *queue.Envelope) queue.Envelope {
	t.Helper()
	m, err := f.Start(context.Background(), Origin{Sender: "sender@example.org", Source: "smtpd"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Finish(context.Background(), env); err != nil {
		t.Fatal(err)
	}
	return f.queue.env
}

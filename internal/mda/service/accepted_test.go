package service

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
)

func accepted(id uint64, refused string) *master.Message {
	return &master.Message{Kind: mail.KindAccepted, Body: fmt.Appendf(nil, `{"id":%d,"refused":%q}`, id, refused)}
}

// TestLoginAnswers lets mail processes answer for the clients that they were passed,
// and for no others.
func TestLoginAnswers(t *testing.T) {
	var l logins
	alice, mallory := mailKey{1000, 1000, 0}, mailKey{1001, 1001, 0}
	id, answer := l.add(alice)
	l.answered(mallory, accepted(id, "another user's process says no"))
	l.answered(alice, accepted(id+1, "no such client"))
	select {
	case a := <-answer:
		t.Fatalf("answered by somebody else: %+v", a)
	default:
	}
	l.answered(alice, accepted(id, "too many"))
	l.answered(alice, accepted(id, "")) // once is enough
	if refused, err := l.wait(t.Context(), answer); refused != "too many" || err != nil {
		t.Errorf("got %q, %v", refused, err)
	}

	id, answer = l.add(alice)
	l.fail(mallory)
	l.answered(alice, accepted(id, ""))
	if refused, err := l.wait(t.Context(), answer); refused != "" || err != nil {
		t.Errorf("got %q, %v", refused, err)
	}

	_, answer = l.add(alice)
	l.fail(alice)
	if _, err := l.wait(t.Context(), answer); !errors.Is(err, errMailGone) {
		t.Errorf("after the process died: %v", err)
	}

	id, answer = l.add(alice)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.wait(ctx, answer); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	l.remove(id)
	if len(l.waiting) != 0 {
		t.Errorf("%d clients are left", len(l.waiting))
	}
}

// TestDeliveryAnswers does not let a mail process say that the message of another uid
// was saved.
func TestDeliveryAnswers(t *testing.T) {
	var d deliveries
	alice, mallory := mailKey{1000, 1000, 0}, mailKey{1001, 1001, 0}
	id := d.add(waiter{id: 7, key: alice})
	if _, ok := d.take(mallory, id); ok {
		t.Error("taken by another user's process")
	}
	if w, ok := d.take(alice, id); !ok || w.id != 7 {
		t.Errorf("got %+v, %v", w, ok)
	}
}

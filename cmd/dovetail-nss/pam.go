//go:build cgo && linux

package main

/*
#cgo LDFLAGS: -lpam
#include <stdlib.h>
#include <string.h>
#include <security/pam_appl.h>

// A dialog is what the modules of one login are told, and what they say.
typedef struct {
	const char *user, *password;
	char message[512];
} dialog;

static char *answer(const dialog *d, int style) {
	switch (style) {
	case PAM_PROMPT_ECHO_ON:
		return strdup(d->user);
	case PAM_PROMPT_ECHO_OFF:
		return strdup(d->password);
	}
	return NULL;
}

static void keep(dialog *d, const char *text) {
	if (text != NULL) {
		strncpy(d->message, text, sizeof(d->message) - 1);
	}
}

static void discard(struct pam_response *r, int n) {
	for (int i = 0; i < n; i++) {
		if (r[i].resp != NULL) {
			memset(r[i].resp, 0, strlen(r[i].resp));
			free(r[i].resp);
		}
	}
	free(r);
}

static int converse(int n, const struct pam_message **msg, struct pam_response **resp, void *data) {
	dialog *d = data;
	if (n <= 0 || n > PAM_MAX_NUM_MSG) {
		return PAM_CONV_ERR;
	}
	struct pam_response *r = calloc(n, sizeof(*r));
	if (r == NULL) {
		return PAM_BUF_ERR;
	}
	for (int i = 0; i < n; i++) {
		switch (msg[i]->msg_style) {
		case PAM_PROMPT_ECHO_ON:
		case PAM_PROMPT_ECHO_OFF:
			if ((r[i].resp = answer(d, msg[i]->msg_style)) == NULL) {
				discard(r, n);
				return PAM_BUF_ERR;
			}
			break;
		case PAM_ERROR_MSG:
		case PAM_TEXT_INFO:
			keep(d, msg[i]->msg);
			break;
		default:
			discard(r, n);
			return PAM_CONV_ERR;
		}
	}
	*resp = r;
	return PAM_SUCCESS;
}

static int begin(const char *service, dialog *d, pam_handle_t **h) {
	struct pam_conv conv = { converse, d };
	return pam_start(service, d->user, &conv, h);
}
*/
import "C"

import (
	"strings"
	"unsafe"

	"github.com/dovetail-mail/dovetail/internal/auth/system"
)

// authenticate runs the modules of a PAM service for one login, in the order of
// Dovecot.
func authenticate(l *system.Login) system.Verdict {
	if strings.ContainsRune(l.User+l.Password+l.Service+l.RemoteHost, 0) {
		return system.Verdict{Code: system.Mismatch} // C would see less of it
	}
	user, password, service := C.CString(l.User), C.CString(l.Password), C.CString(l.Service)
	d := (*C.dialog)(C.calloc(1, C.sizeof_dialog))
	d.user, d.password = user, password
	defer func() {
		C.memset(unsafe.Pointer(password), 0, C.strlen(password))
		for _, p := range []unsafe.Pointer{unsafe.Pointer(user), unsafe.Pointer(password), unsafe.Pointer(service), unsafe.Pointer(d)} {
			C.free(p)
		}
	}()
	var h *C.pam_handle_t
	if status := C.begin(service, d, &h); status != C.PAM_SUCCESS {
		return system.Verdict{Code: system.Internal, Step: "pam_start()", Text: text(h, status)}
	}
	setItem(h, C.PAM_TTY, "dovecot")
	if l.RemoteHost != "" {
		setItem(h, C.PAM_RHOST, l.RemoteHost)
	}
	v := steps(h, l)
	v.Message = C.GoString(&d.message[0])
	if status := C.pam_end(h, C.int(v.Status)); status != C.PAM_SUCCESS && v.Code == system.OK {
		return system.Verdict{Code: system.Internal, Step: "pam_end()", Text: text(nil, status)}
	}
	return v
}

// steps are the calls between pam_start and pam_end.
func steps(h *C.pam_handle_t, l *system.Login) system.Verdict {
	type step struct {
		name string
		call func() C.int
	}
	calls := []step{{"pam_authenticate()", func() C.int { return C.pam_authenticate(h, 0) }}}
	if l.SetCred {
		calls = append(calls, step{"pam_setcred()", func() C.int { return C.pam_setcred(h, C.PAM_ESTABLISH_CRED) }})
	}
	calls = append(calls, step{"pam_acct_mgmt()", func() C.int { return C.pam_acct_mgmt(h, 0) }})
	if l.Session {
		calls = append(calls, step{"pam_open_session()", func() C.int { return C.pam_open_session(h, 0) }},
			step{"pam_close_session()", func() C.int { return C.pam_close_session(h, 0) }})
	}
	for _, s := range calls {
		if status := s.call(); status != C.PAM_SUCCESS {
			return system.Verdict{Code: code(status), Status: int(status), Step: s.name, Text: text(h, status), AuthError: status == C.PAM_AUTH_ERR}
		}
	}
	var item unsafe.Pointer
	if status := C.pam_get_item(h, C.PAM_USER, &item); status != C.PAM_SUCCESS || item == nil {
		return system.Verdict{Code: system.Internal, Status: int(status), Step: "pam_get_item(PAM_USER)", Text: text(h, status)}
	}
	return system.Verdict{Code: system.OK, User: C.GoString((*C.char)(item))}
}

func setItem(h *C.pam_handle_t, item C.int, value string) {
	text := C.CString(value)
	defer C.free(unsafe.Pointer(text))
	C.pam_set_item(h, item, unsafe.Pointer(text))
}

func text(h *C.pam_handle_t, status C.int) string { return C.GoString(C.pam_strerror(h, status)) }

// code says what a failure means for the login.
func code(status C.int) system.Code {
	switch status {
	case C.PAM_USER_UNKNOWN:
		return system.Unknown
	case C.PAM_NEW_AUTHTOK_REQD, C.PAM_ACCT_EXPIRED:
		return system.Expired
	}
	return system.Mismatch
}

package doveadm

import (
	"strings"
	"testing"
)

// mimeMail has parts inside of parts.
const mimeMail = `From: outer@x
Subject: outer
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=bb

--bb
Content-Type: text/plain; charset=utf-8; format=flowed
Content-Language: de, en
Content-Location: here
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Description: a Text

text
--bb
Content-Type: application/pdf; name=x.pdf
Content-ID: <part2@x>
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename=Angebot.pdf; size=5

aGVsbG8K
--bb
Content-Type: message/rfc822

From: "Inner, A." <inner@x>
To: a@b, c@d
Cc: group: e@f, g@h;
Subject: inner
Date: Mon, 1 Jan 2024 23:30:00 -0500
Message-ID: <inner@x>
In-Reply-To: <outer@x>
Content-Type: multipart/alternative; boundary=cc

--cc

one
--cc
Content-Type: text/html
Content-Disposition: inline; filename=y.html

<p>two
--cc--
--bb--
`

// TestMIMEPartIsThatOfTheOriginal searches for parts with both programs.
func TestMIMEPartIsThatOfTheOriginal(t *testing.T) {
	h := newHome(t, "sdbox:~/mail")
	h.setUp(mimeMail, "save")
	h.setUp(testMail(1), "save")
	for query := range strings.Lines(`type text
type TEXT
type multipart
subtype pdf
encoding base64
encoding 7bit
id <part2@x>
md5 Q2hlY2sgSW50ZWdyaXR5IQ==
md5 q2hlY2sgSW50ZWdyaXR5IQ==
language EN
language fr
location Here
description Text
description text
param charset utf
param charset "x"
param FORMAT flow
disposition type Attachment
disposition param size 5
disposition param size 6
disposition bogus x
filename is angebot.PDF
filename contains bot
filename begins ang
filename ends .pdf
filename is y.html
filename like x
size 5
size larger 100
size smaller 3
size x
size larger
from inner@x
from "Inner
from outer
to <c@d>
to "a@b>, <c@d>"
cc group:
cc g@h
bcc x
subject inner
subject outer
message-id inner
in-reply-to outer
sentbefore 1-Jan-2024
senton 1-Jan-2024
sentsince 1-Jan-2024
senton 2-Jan-2024
senton x
depth 0
depth 2
depth min 3
depth max 0
depth -1
index 3
index 4
index x
( depth 1 index 2 type application )
( depth 2 type multipart )
( type text index 2 )
child exists
not child exists
parent exists
not parent exists
child subtype html
child ( depth 1 subtype html )
( type message child ( type multipart subtype alternative ) )
( subtype html parent subtype alternative )
( subtype html parent parent type message )
( subtype html parent not type multipart )
or type audio type application
or type audio or type video type text
or type audio type video
not type text
( not type text not type multipart not type application not type message )
header subject x
not header subject x
body text
or text x type text
exists
child
bogus
( type text
( )
`) {
		query = strings.TrimSuffix(query, "\n")
		args := strings.Fields(query)
		for i := range args {
			args[i] = strings.Trim(args[i], `"`)
		}
		both(t, h, h, "", append([]string{"search", "mimepart"}, args...)...)
		both(t, h, h, "", append([]string{"search", "not", "mimepart"}, args...)...)
	}
}

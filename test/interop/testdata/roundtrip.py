"""Send with smtplib, then use imaplib and poplib as scripts do."""
import imaplib, poplib, re, smtplib, ssl, sys, time
from email.message import EmailMessage

smtp, imap, pop, user, password, cafile = sys.argv[1:7]


def addr(text):
    host, port = text.split(":")
    return host, int(port)


tls = ssl.create_default_context(cafile=cafile)
tls.check_hostname = False

# SMTP, with STARTTLS, several recipients, 8-bit text and an attachment.
s = smtplib.SMTP(*addr(smtp), timeout=30)
s.ehlo()
for ext in ("pipelining", "size", "8bitmime", "dsn", "enhancedstatuscodes", "starttls", "chunking", "smtputf8"):
    assert s.has_extn(ext), ext
s.starttls(context=tls)
for n in range(3):
    m = EmailMessage()
    m["From"] = "someone@example.org"
    m["To"] = user
    m["Subject"] = "Grüße %d" % n
    m.set_content("Hallo\n.\n..dots\n" + "x" * 900 + "\n")
    m.add_attachment(b"\0\1\2" * 1000, maintype="application", subtype="octet-stream", filename="data.bin")
    assert s.send_message(m) == {}
try:
    s.sendmail("someone@example.org", ["x@elsewhere.example"], "x")
except smtplib.SMTPRecipientsRefused:
    pass
s.quit()

# IMAP.
i = imaplib.IMAP4(*addr(imap))
i.starttls(tls)
i.login(user, password)
deadline = time.time() + 60
while int(i.select("INBOX")[1][0]) < 3:
    assert time.time() < deadline, "messages do not arrive"
    time.sleep(0.2)


def ok(result):
    assert result[0] == "OK", result
    return result[1]


ok(i.create("Work"))
ok(i.create("Work/2026"))
ok(i.create("Entw&APw-rfe"))
names = [x.decode() for x in ok(i.list())]
assert any('"/" Work/2026' in x for x in names), names
assert any("Entw&APw-rfe" in x for x in names), names
ok(i.subscribe("Work"))
assert any("Work" in x.decode() for x in ok(i.lsub()))
ok(i.store("1", "+FLAGS", r"(\Seen \Flagged MyKeyword)"))
ok(i.copy("1:2", "Work"))
assert ok(i.search(None, "FLAGGED"))[0] == b"1"
assert ok(i.search(None, "KEYWORD", "MyKeyword"))[0] == b"1"
found = [ok(i.search(None, "SUBJECT", '"%d"' % n))[0] for n in range(3)]
assert sorted(found) == [b"1", b"2", b"3"], found
data = ok(i.fetch("2", "(FLAGS UID RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE)"))
assert b"octet-stream" in (data[0] if isinstance(data[0], bytes) else data[0][0]).lower(), data
whole = ok(i.fetch("2", "(RFC822)"))[0][1]
size = int(re.search(rb"RFC822.SIZE (\d+)", ok(i.fetch("2", "(RFC822.SIZE)"))[0]).group(1))
assert len(whole) == size, (len(whole), size)
part = ok(i.fetch("2", "(BODY.PEEK[]<10.20>)"))[0][1]
assert part == whole[10:30], part
ok(i.append("Work", r"(\Answered)", imaplib.Time2Internaldate(1700000000), b"Subject: appended\r\n\r\nhere\r\n"))
assert int(ok(i.select("Work"))[0]) == 3
assert b"14-Nov-2023" in ok(i.fetch("3", "(INTERNALDATE)"))[0]
ok(i.store("1", "+FLAGS", r"(\Deleted)"))
assert ok(i.expunge()) == [b"1"]
ok(i.uid("MOVE", "2", "Entw&APw-rfe"))
assert int(ok(i.select("Work"))[0]) == 1
ok(i.rename("Work", "Play"))
assert int(ok(i.select("Play"))[0]) == 1
ok(i.status("Entw&APw-rfe", "(MESSAGES UIDNEXT UNSEEN)"))
ok(i.close())
ok(i.delete("Play/2026"))
i.logout()

# POP3: delete one.
p = poplib.POP3(*addr(pop), timeout=30)
p.stls(tls)
p.user(user)
p.pass_(password)
assert p.stat()[0] == 3
p.dele(1)
p.rset()
p.dele(2)
p.quit()
p = poplib.POP3(*addr(pop), timeout=30)
p.user(user)
p.pass_(password)
assert p.stat()[0] == 2
p.quit()
print("all is well")

"""A mail client with a cache: what it remembers of each mailbox must stay right.

usage: cache.py PORT USER PASSWORD STATE [unchanged]

STATE is the file with what was seen before. It is compared with what the server says
now, as far as a client may rely on it, and written anew. With "unchanged" nothing may
have changed at all.
"""
import hashlib
import imaplib
import json
import os
import re
import sys

port, user, password, path = sys.argv[1:5]
unchanged = len(sys.argv) > 5


def fail(text):
    print(text)
    sys.exit(1)


def ok(answer, what):
    kind, data = answer
    if kind != "OK":
        fail(f"{what}: {kind} {data}")
    return data


def words(data):
    """The FETCH answers, by uid, as text before a literal and the literal."""
    found = {}
    for part in data:
        literal = b""
        if isinstance(part, tuple):
            part, literal = part
        if not part or part == b")":
            continue
        uid = re.search(rb"UID (\d+)", part)
        if uid:
            found[uid.group(1).decode()] = (part.decode("utf-8", "replace"), literal)
    return found


def flags_of(text):
    flags = re.search(r"FLAGS \(([^)]*)\)", text).group(1).split()
    return sorted(f.lower() for f in flags if f != "\\Recent")


def number(name, data):
    value = imap.response(name)[1]
    if not value or value[0] is None:
        fail(f"no {name}")
    return int(value[0])


def look(name):
    """Everything in a mailbox."""
    imap.untagged_responses = {}
    ok(imap.select(name, readonly=True), f"EXAMINE {name}")
    box = {key: number(key, None) for key in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ")}
    box["messages"] = {}
    data = ok(imap.uid("FETCH", "1:*", "(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE BODY.PEEK[])"), "FETCH")
    for uid, (text, literal) in words(data).items():
        box["messages"][uid] = {
            "flags": flags_of(text),
            "modseq": int(re.search(r"MODSEQ \((\d+)\)", text).group(1)),
            "date": re.search(r'INTERNALDATE ("[^"]*")', text).group(1),
            "size": re.search(r"RFC822.SIZE (\d+)", text).group(1),
            "text": hashlib.sha1(literal).hexdigest(),
        }
    return box


def changed_since(modseq):
    """The flags that a client hears of that asks for changes only."""
    data = ok(imap.uid("FETCH", "1:*", f"(UID FLAGS) (CHANGEDSINCE {modseq})"), "FETCH CHANGEDSINCE")
    return {uid: flags_of(text) for uid, (text, _) in words(data).items()}


def check(name, old, new):
    """Compare what is remembered of a mailbox with what is there."""
    for key in ("UIDNEXT", "HIGHESTMODSEQ"):
        if new[key] < old[key]:
            fail(f"{name}: {key} went from {old[key]} to {new[key]}")
    for uid, message in new["messages"].items():
        known = old["messages"].get(uid)
        if known is None and int(uid) < old["UIDNEXT"]:
            fail(f"{name}: uid {uid} is new and below the UIDNEXT of before, {old['UIDNEXT']}")
        for key in ("date", "size", "text"):
            if known and known[key] != message[key]:
                fail(f"{name}: uid {uid} is another message: {key} was {known[key]}, is {message[key]}")
    told = changed_since(old["HIGHESTMODSEQ"])
    for uid, message in new["messages"].items():
        known = old["messages"].get(uid)
        flags = told.get(uid, known and known["flags"])
        if flags != message["flags"]:
            fail(f"{name}: uid {uid} has the flags {message['flags']}; a client that asks for changes believes {flags}")


imap = imaplib.IMAP4("127.0.0.1", int(port))
imap.login(user, password)
ok(imap.enable("CONDSTORE"), "ENABLE")
old = {}
if os.path.exists(path):
    with open(path) as f:
        old = json.load(f)
new = {}
for line in ok(imap.list(), "LIST"):
    line = line if isinstance(line, bytes) else b" ".join(line)
    attributes, name = re.match(rb'\(([^)]*)\) "/" (.*)$', line).groups()
    if b"\\Noselect" in attributes or b"\\NonExistent" in attributes:
        continue
    name = name.decode()
    box = new[name] = look(name)
    if name in old and old[name]["UIDVALIDITY"] == box["UIDVALIDITY"]:
        check(name, old[name], box)
    imap.unselect()
imap.logout()
if unchanged and new != old:
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            print(f"{name}: was {old.get(name)}\nis {new.get(name)}")
    sys.exit(1)
with open(path, "w") as f:
    json.dump(new, f)

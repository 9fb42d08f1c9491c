"""Wait until a mailbox has N messages and print them all (poplib)."""
import poplib, sys, time

host, port = sys.argv[1].split(":")
user, password, wanted = sys.argv[2], sys.argv[3], int(sys.argv[4])
deadline = time.time() + 60
while True:
    p = poplib.POP3(host, int(port), timeout=30)
    p.user(user)
    p.pass_(password)
    count, size = p.stat()
    if count >= wanted or time.time() > deadline:
        break
    p.quit()
    time.sleep(0.2)
uidls = p.uidl()[1]
assert len(uidls) == count and len(set(uidls)) == count, uidls
assert len(p.list()[1]) == count
total = 0
for n in range(1, count + 1):
    _, lines, octets = p.retr(n)
    total += octets
    print(b"\n".join(lines).decode("utf-8", "replace"))
    top = p.top(n, 0)[1]
    assert top == lines[: len(top)], (top, lines)
p.quit()

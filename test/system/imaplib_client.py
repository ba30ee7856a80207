"""Python's imaplib against the proxy: logins three ways, IDLE, and a large message there and back.

Usage: imaplib_client.py COMMAND, facts as JSON on standard input, results as JSON on standard output.
"""

import hashlib
import imaplib
import json
import random
import ssl
import sys

FACTS = json.load(sys.stdin)
CONTEXT = ssl.create_default_context(cafile=FACTS["ca"])
# A message of 20 MB in one literal; imaplib's own bound is on lines, not on literals.
LARGE = 20 * 1024 * 1024


def plain(_challenge):
    return f"\0{FACTS['user']}\0{FACTS['password']}".encode()


def imaps():
    return imaplib.IMAP4_SSL("localhost", FACTS["imaps"], ssl_context=CONTEXT, timeout=60)


def starttls():
    client = imaplib.IMAP4("localhost", FACTS["imap"], timeout=60)
    client.starttls(CONTEXT)
    return client


def server(client):
    """The first message's text says where we are."""
    expect_ok(client.select("INBOX"))
    data = expect_ok(client.fetch("1", "(BODY.PEEK[TEXT])"))
    return data[0][1].decode().split("You are on the ")[1].split(" server")[0]


def expect_ok(answer):
    status, data = answer
    if status != "OK":
        raise RuntimeError(f"{status} {data}")
    return data


def logins():
    """Every way in that the library knows; each result is the server that answered."""
    found = {}
    client = imaps()
    expect_ok(client.login(FACTS["user"], FACTS["password"]))
    found["imaps_login"] = server(client)
    client.logout()
    client = imaps()
    expect_ok(client.authenticate("PLAIN", plain))
    found["imaps_plain"] = server(client)
    client.logout()
    client = starttls()
    expect_ok(client.login(FACTS["user"], FACTS["password"]))
    found["starttls_login"] = server(client)
    client.logout()
    client = starttls()
    expect_ok(client.authenticate("PLAIN", plain))
    found["starttls_plain"] = server(client)
    client.logout()
    return found


def refusals():
    """What a wrong password gets, and a password before TLS."""
    found = {}
    client = imaps()
    try:
        client.login(FACTS["user"], "wrong")
        found["wrong"] = "accepted"
    except imaplib.IMAP4.error as error:
        found["wrong"] = str(error)
    # The same connection may try again.
    expect_ok(client.login(FACTS["user"], FACTS["password"]))
    found["then"] = server(client)
    client.logout()
    client = imaplib.IMAP4("localhost", FACTS["imap"], timeout=60)
    try:
        client.login(FACTS["user"], FACTS["password"])
        found["before_tls"] = "accepted"
    except imaplib.IMAP4.error as error:
        found["before_tls"] = str(error)
    client.logout()
    return found


def idle():
    """IDLE by hand (the library learned it late): a message from a second session must be announced."""
    waiting = imaps()
    expect_ok(waiting.login(FACTS["user"], FACTS["password"]))
    before = int(expect_ok(waiting.select("INBOX"))[0])
    waiting.send(b"idle1 IDLE\r\n")
    answer = waiting.readline()
    if not answer.startswith(b"+ "):
        raise RuntimeError(answer)
    other = imaps()
    expect_ok(other.login(FACTS["user"], FACTS["password"]))
    expect_ok(other.append("INBOX", None, None, b"Subject: wake up\r\n\r\nhello\r\n"))
    other.logout()
    line = waiting.readline()
    while b"EXISTS" not in line:
        line = waiting.readline()
    waiting.send(b"DONE\r\n")
    while not line.startswith(b"idle1 "):
        line = waiting.readline()
    waiting.shutdown()
    return {"before": before, "end": line.decode().strip()}


def large():
    """A large message there and back, compared by hash."""
    generator = random.Random(FACTS["seed"])
    # Lines of text, so that no server has a reason to change a byte of it.
    body = b"\r\n".join(generator.randbytes(37).hex().encode() for _ in range(LARGE // 76))
    message = b"Subject: large\r\nFrom: a@example.com\r\n\r\n" + body + b"\r\n"
    client = imaps()
    expect_ok(client.login(FACTS["user"], FACTS["password"]))
    expect_ok(client.create("Large"))
    expect_ok(client.append("Large", None, None, message))
    expect_ok(client.select("Large"))
    data = expect_ok(client.fetch("1", "(BODY.PEEK[])"))
    client.logout()
    return {
        "bytes": len(message),
        "sent": hashlib.sha256(message).hexdigest(),
        "received": hashlib.sha256(data[0][1]).hexdigest(),
    }


json.dump({"logins": logins, "refusals": refusals, "idle": idle, "large": large}[sys.argv[1]](), sys.stdout)

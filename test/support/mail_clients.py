"""Real clients of every mail protocol against the proxy: log in, do real work, say what was seen.

Reads a JSON list of jobs on standard input, one dictionary each: protocol, tls (plain, starttls, implicit), port, user,
password, ca, source (the local address to connect from). Prints a JSON list of results, in the same order: what the work
gave, or {"error": ...}.
"""

import base64
import imaplib
import json
import poplib
import re
import smtplib
import socket
import ssl
import sys

REAL_CONNECT = socket.create_connection
SOURCE = None


def connect_from(address, timeout=30, source_address=None, **rest):
    """Every library connects from the job's own address, so that the backend's log can tell whom it was told of."""
    return REAL_CONNECT(address, timeout, source_address=(SOURCE, 0), **rest)


socket.create_connection = connect_from


def imap(job, context):
    client = imaplib.IMAP4_SSL("localhost", job["port"], ssl_context=context) if job["tls"] == "implicit" else imaplib.IMAP4("localhost", job["port"])
    if job["tls"] == "starttls":
        client.starttls(context)
    client.login(job["user"], job["password"])
    client.select("INBOX")
    _, data = client.fetch("1", "(BODY.PEEK[TEXT])")
    text = data[0][1].decode()
    client.append("INBOX", None, None, b"Subject: appended\r\n\r\nx\r\n")
    client.logout()
    return text.strip()


def pop3(job, context):
    client = poplib.POP3_SSL("localhost", job["port"], context=context) if job["tls"] == "implicit" else poplib.POP3("localhost", job["port"])
    if job["tls"] == "starttls":
        client.stls(context)
    client.user(job["user"])
    client.pass_(job["password"])
    _, lines, _ = client.retr(1)
    client.quit()
    return lines[-1].decode().strip()


def submission(job, context):
    if job["tls"] == "implicit":
        client = smtplib.SMTP_SSL("localhost", job["port"], local_hostname="client.example.com", context=context)
    else:
        client = smtplib.SMTP("localhost", job["port"], local_hostname="client.example.com")
    client.ehlo()
    if job["tls"] == "starttls":
        client.starttls(context=context)
        client.ehlo()
    client.login(job["user"], job["password"])
    subject = job["subject"]
    client.sendmail(job["user"], [job["to"]], f"From: {job['user']}\r\nTo: {job['to']}\r\nSubject: {subject}\r\n\r\nHello.\r\n")
    client.quit()
    return subject


def smtp(job, context):
    client = smtplib.SMTP_SSL("localhost", job["port"], context=context) if job["tls"] == "implicit" else smtplib.SMTP("localhost", job["port"])
    client.ehlo("mx.example.org")
    client.sendmail("sender@example.org", [job["to"]], f"Subject: {job['subject']}\r\n\r\nFrom outside.\r\n")
    client.quit()
    return job["subject"]


def lmtp(job, context):
    plain = connect_from(("localhost", job["port"]))
    wire = context.wrap_socket(plain, server_hostname="localhost") if job["tls"] == "implicit" else plain
    lines = wire.makefile("rwb")
    reply(lines)
    for command in ("LHLO client.example.com", "MAIL FROM:<sender@example.org>", f"RCPT TO:<{job['to']}>", "DATA"):
        lines.write(command.encode() + b"\r\n")
        lines.flush()
        reply(lines)
    lines.write(f"Subject: {job['subject']}\r\n\r\nBy LMTP.\r\n.\r\n".encode())
    lines.flush()
    said = reply(lines)
    lines.write(b"QUIT\r\n")
    lines.flush()
    wire.close()
    return said


def reply(lines):
    while True:
        line = lines.readline().decode()
        if not line or line[0] not in "23":
            raise RuntimeError(f"refused: {line!r}")
        if line[3:4] != "-":
            return line.strip()


class Sieve:
    """RFC 5804, as much of it as a script's life takes."""

    def __init__(self, wire):
        self.wire = wire
        self.lines = wire.makefile("rwb")

    def answer(self):
        said = []
        while True:
            line = self.lines.readline().decode()
            if not line:
                raise RuntimeError(f"closed after {said}")
            literal = re.search(r"\{(\d+)\+?\}\r\n$", line)
            if literal:
                line += self.lines.read(int(literal.group(1))).decode() + self.lines.readline().decode()
            said.append(line)
            if re.match(r"OK\b", line):
                return "".join(said)
            if re.match(r"(NO|BYE)\b", line):
                raise RuntimeError("".join(said))

    def command(self, text):
        self.lines.write(text.encode() + b"\r\n")
        self.lines.flush()
        return self.answer()


def managesieve(job, context):
    plain = connect_from(("localhost", job["port"]))
    client = Sieve(context.wrap_socket(plain, server_hostname="localhost") if job["tls"] == "implicit" else plain)
    client.answer()
    if job["tls"] == "starttls":
        client.command("STARTTLS")
        client = Sieve(context.wrap_socket(plain, server_hostname="localhost"))
        client.answer()
    secret = base64.b64encode(f"\0{job['user']}\0{job['password']}".encode()).decode()
    client.command(f'AUTHENTICATE "PLAIN" "{secret}"')
    script = 'require "fileinto";\r\nkeep;\r\n'
    client.command(f'PUTSCRIPT "mine" {{{len(script)}+}}\r\n{script}')
    listed = client.command("LISTSCRIPTS")
    got = client.command('GETSCRIPT "mine"')
    client.command("LOGOUT")
    return "kept" if '"mine"' in listed and "keep;" in got else listed


WORK = {"imap": imap, "pop3": pop3, "managesieve": managesieve, "submission": submission, "smtp": smtp, "lmtp": lmtp}


def run(job):
    global SOURCE
    SOURCE = job["source"]
    try:
        return WORK[job["protocol"]](job, ssl.create_default_context(cafile=job["ca"]))
    except Exception as error:  # whatever it was, the test shows it
        return {"error": f"{type(error).__name__}: {error}"}


print(json.dumps([run(job) for job in json.load(sys.stdin)]))

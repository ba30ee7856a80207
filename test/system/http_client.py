"""Python's own HTTP clients against the proxy: keep-alive, chunked uploads, Expect by hand, a 401 that is answered with a password.

Reads {"port", "tls_port", "ca"} as JSON on standard input; prints what was seen as JSON.
"""

import base64
import http.client
import json
import ssl
import sys
import urllib.error
import urllib.request

job = json.load(sys.stdin)
context = ssl.create_default_context(cafile=job["ca"])


def basic(account):
    return {"Authorization": "Basic " + base64.b64encode(f"{account}:secret".encode()).decode()}


seen = {}

# One connection, two accounts in turn.
connection = http.client.HTTPSConnection("localhost", job["tls_port"], context=context, timeout=30)
servers = []
sockets = set()
for turn in range(20):
    connection.request("GET", "/jmap/session", headers=basic("ann@example.com" if turn % 2 == 0 else "bob@example.com"))
    response = connection.getresponse()
    response.read()
    servers.append(response.getheader("X-Server"))
    sockets.add(connection.sock.getsockname())
seen["in_turn"] = servers
seen["connections"] = len(sockets)

# An upload of unknown length, in pieces.
session = None
connection.request("GET", "/jmap/session", headers=basic("ann@example.com"))
session = json.loads(connection.getresponse().read())
account_id = session["primaryAccounts"]["urn:ietf:params:jmap:mail"]
connection.request("POST", f"/jmap/upload/{account_id}/", body=(bytes([n % 256]) * 1000 for n in range(500)), headers=basic("ann@example.com"), encode_chunked=True)
uploaded = json.loads(connection.getresponse().read())
seen["uploaded"] = uploaded["size"]

# A range of it.
connection.request("GET", f"/jmap/download/{account_id}/{uploaded['blobId']}/x", headers={**basic("ann@example.com"), "Range": "bytes=1500-2499"})
response = connection.getresponse()
body = response.read()
seen["range"] = [response.status, response.getheader("Content-Range"), body == bytes([1]) * 500 + bytes([2]) * 500]

# HEAD, and 304: no body, and the connection goes on.
for method, headers in (("HEAD", {}), ("GET", {"If-None-Match": f'"{uploaded["blobId"]}"'}), ("GET", {})):
    connection.request(method, f"/jmap/download/{account_id}/{uploaded['blobId']}/x", headers={**basic("ann@example.com"), **headers})
    response = connection.getresponse()
    seen.setdefault("bodiless", []).append([response.status, len(response.read())])
connection.close()

# urllib asks without a password, is refused, and comes back with one.
passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
passwords.add_password(None, f"http://localhost:{job['port']}/", "ann@example.com", "secret")
opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
with opener.open(f"http://localhost:{job['port']}/.well-known/jmap", timeout=30) as answer:
    seen["urllib"] = [answer.status, answer.headers["X-Server"], json.load(answer)["username"]]
try:
    urllib.request.urlopen(f"http://localhost:{job['port']}/nowhere", timeout=30)
except urllib.error.HTTPError as error:
    seen["nowhere"] = error.code

print(json.dumps(seen))

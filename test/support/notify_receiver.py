"""Stands in for the service manager: a datagram socket of the Unix domain that every message is read from.

Usage: notify_receiver.py PATH. Prints "listening", then each message as one line of JSON: its assignments, and the process,
user and time (CLOCK_MONOTONIC, microseconds) it came from. A path that begins with "@" is of the abstract namespace.
"""

import json
import os
import socket
import struct
import sys
import time

path = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
receiver.bind("\0" + path[1:] if path.startswith("@") else path)
if not path.startswith("@"):
    os.chmod(path, 0o777)
print("listening", flush=True)

while True:
    data, ancillary, _flags, _address = receiver.recvmsg(8192, 1024)
    pid = uid = None
    for level, kind, content in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            pid, uid, _gid = struct.unpack("3i", content[:12])
        elif kind == socket.SCM_RIGHTS:
            # What BARRIER=1 carries: closing it says that everything before has been read.
            for (descriptor,) in struct.iter_unpack("i", content[: len(content) - len(content) % 4]):
                os.close(descriptor)
    assignments = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
    if "BARRIER" in assignments:
        continue
    print(json.dumps({"assignments": assignments, "pid": pid, "uid": uid, "at": time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}), flush=True)

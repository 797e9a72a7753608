#!/usr/bin/env python3
"""state PID - what a process is, but for what it works with: the bytes of all code of its files, the protections of all
their mappings, what is done with signals and which each thread blocks, and its descriptors. Two states are compared by
diff. The handler of hotpatch's own signal, which stays once it was needed, is not told."""

import hashlib
import os
import re
import sys


def mappings(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, protection, offset, _, inode, *path = line.split(maxsplit=5)
            if inode == "0" or not path[0].startswith("/"):
                continue
            low, high = (int(word, 16) for word in span.split("-"))
            code = ""
            if "x" in protection:
                memory.seek(low)
                code = hashlib.sha256(memory.read(high - low)).hexdigest()
            yield f"{span} {protection} {offset} {path[0].strip()} {code}"


OWN_SIGNAL = 1 << (62 - 1)  # SIGRTMAX - 2


def signals(pid):
    for thread in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        with open(f"/proc/{pid}/task/{thread}/status") as status:
            words = re.findall(r"^(Name|SigBlk|SigIgn|SigCgt):\s*(.*)$", status.read(), re.MULTILINE)
        told = {name: value if name == "Name" else f"{int(value, 16) & ~OWN_SIGNAL:x}" for name, value in words}
        yield f"{thread} " + " ".join(f"{name}={value}" for name, value in told.items())


def descriptors(pid):
    for number in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        yield f"{number} {os.readlink(f'/proc/{pid}/fd/{number}')}"


if __name__ == "__main__":
    for part in (mappings, signals, descriptors):
        print(*part(sys.argv[1]), sep="\n")

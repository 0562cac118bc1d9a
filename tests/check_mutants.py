#!/usr/bin/env python3
"""200 GGUF files that are wrong in one place, as past readers of the format met them: koine says so in one line, with exit status 3.

usage: check_mutants.py KOINE AUSTEN
       check_mutants.py --corpus FOLDER      the same of a small file, for fuzz_gguf, whose input begins behind magic and version
No module beside Python's own."""
import os
import random
import struct
import subprocess
import sys
import tempfile

koine, austen = sys.argv[1:3]
tmp = tempfile.TemporaryDirectory()
random.seed(7)


def small():
    """Every type of value, an array of numbers and one of texts, tensors of one and two dimensions."""
    text = lambda s: struct.pack("<Q", len(s)) + s
    keys = [text(b"k%d" % kind) + struct.pack("<I", kind) + (text(b"value") if kind == 8 else bytes(size))
            for kind, size in {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 8: 0, 10: 8, 11: 8, 12: 8}.items()]
    keys.append(text(b"numbers") + struct.pack("<IIQ", 9, 4, 3) + bytes(12))
    keys.append(text(b"texts") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"bc"))
    tensors = [text(b"v") + struct.pack("<IQIQ", 1, 8, 0, 0), text(b"m") + struct.pack("<IQQIQ", 2, 32, 2, 8, 32)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys + tensors)
    return head + bytes(-len(head) % 32 + 32 + 96)


if koine == "--corpus":
    data = small()
else:
    good = os.path.join(tmp.name, "good.gguf")
    subprocess.run([koine, "quantize", "-m", austen, "-o", good, "--type", "F16"], check=True)
    subprocess.run([koine, "info", good], check=True, stdout=subprocess.DEVNULL)
    data = open(good, "rb").read()


def scan():
    """Where counts, types, dimensions and offsets stand: {kind: [(position, bytes)]}, and the header's end."""
    at, places = 24, {k: [] for k in ("length", "type", "array", "dims", "dim", "tensor type", "offset", "name")}
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def string(kind):
        nonlocal at
        places[kind].append((at, 8))
        at += 8 + struct.unpack_from("<Q", data, at)[0]

    for _ in range(n_keys):
        string("name")
        places["type"].append((at, 4))
        kind, n = struct.unpack_from("<I", data, at)[0], 1
        at += 4
        if kind == 9:
            kind, n = struct.unpack_from("<IQ", data, at)
            places["type"].append((at, 4))
            places["array"].append((at + 4, 8))
            at += 12
        for _ in range(n):
            if kind == 8:
                string("length")
            else:
                at += sizes[kind]
    for _ in range(n_tensors):
        string("name")
        n = struct.unpack_from("<I", data, at)[0]
        places["dims"].append((at, 4))
        places["dim"] += [(at + 4 + 8 * i, 8) for i in range(n)]
        places["tensor type"].append((at + 4 + 8 * n, 4))
        places["offset"].append((at + 8 + 8 * n, 8))
        at += 16 + 8 * n
    return places, at


places, end = scan()
HUGE = [2**64 - 1, 2**63, 2**32, 2**40, 2**61]
mutants = [(f"the first {n} bytes", data[:n]) for n in [0, 1, 3, 4, 8, 12, 23, 24] + [random.randrange(25, end) for _ in range(32)]]


def put(what, at, size, value):
    mutants.append((f"{what} at {at}: {value}", data[:at] + (value % 2**(8 * size)).to_bytes(size, "little") + data[at + size:]))


for at, what in ((8, "tensors"), (16, "keys")):
    for v in HUGE:
        put(what, at, 8, v)
for v in (0, 1, 4, 0x03000000):
    put("version", 4, 4, v)
for kind in ("length", "array", "name", "dim"):
    for _ in range(20):
        put(kind, *random.choice(places[kind]), random.choice(HUGE))
for _ in range(12):
    put("name", *random.choice(places["name"]), 0)
    put("dim", *random.choice(places["dim"]), 0)
    put("dimensions", *random.choice(places["dims"]), random.choice([0, 5, 255, 2**32 - 1]))
    put("type", *random.choice(places["type"]), random.choice([13, 99, 2**32 - 1]))
    at, _ = random.choice(places["offset"][1:])
    put("offset", at, 8, random.choice([1, 7, 2**63, len(data) * 2, 2**64 - 32]))
    at, _ = random.choice(places["offset"][1:])
    put("overlap", at, 8, struct.unpack_from("<Q", data, random.choice(places["offset"])[0])[0])
while len(mutants) < 200:
    put("tensor type", *random.choice(places["tensor type"]), random.choice([4, 5, 40, 99, 2**31]))

if koine == "--corpus":
    os.makedirs(austen, exist_ok=True)
    for i, (_, text) in enumerate([("whole", data)] + mutants):
        with open(os.path.join(austen, f"seed{i}"), "wb") as f:
            f.write(text[8:])
    sys.exit(0)
bad = 0
file = os.path.join(tmp.name, "mutant.gguf")
for what, text in mutants[:200]:
    if text == data:  # an offset that became itself
        continue
    with open(file, "wb") as f:
        f.write(text)
    done = subprocess.run([koine, "info", file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    lines = done.stderr.decode(errors="replace").splitlines()
    if done.returncode != 3 or len(lines) != 1:
        bad += 1
        print(f"{what}: status {done.returncode}, {len(lines)} lines: {lines[:2]}")
print(f"{min(len(mutants), 200)} files, {bad} wrong")
sys.exit(1 if bad else 0)

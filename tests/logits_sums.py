#!/usr/bin/env python3
"""Sums of the logits that a koine command computes for the golden models, a line each: to see whether a change keeps every bit.

    tests/logits_sums.py KOINE [-d DEVICE]... [-c CHUNK]... [FOLDER]... > before
    tests/logits_sums.py KOINE ... --against before

DEVICE: host and portable (PoCL) unless said. CHUNK: 512, 7 and 1. FOLDER: tests/data/tiny-* and ../shared/golden/* that are there.
Sums depend on the processor: make both on one machine. Exit status 1 when a line differs."""
import argparse
import glob
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tokens_of(folder):
    with open(folder + "/golden.safetensors", "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        begin, end = json.loads(f.read(n))["tokens"]["data_offsets"]
        f.seek(8 + n + begin)
        return f.read(end - begin)


def sum_of(koine, folder, device, mode, chunk, work):
    with open(work + "/ids", "wb") as f:
        f.write(tokens_of(folder))
    command = [koine, "logits", "-m", folder, "--tokens", work + "/ids", "-o", work + "/logits", "--cache", mode, "--device", device, "--chunk", chunk]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with open(work + "/logits", "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()[:16]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("koine")
    p.add_argument("folder", nargs="*")
    p.add_argument("-d", action="append")
    p.add_argument("-c", action="append")
    p.add_argument("--against")
    a = p.parse_args()
    folders = a.folder or sorted(glob.glob(ROOT + "/tests/data/tiny-*") + [f for f in glob.glob(ROOT + "/../shared/golden/*") if "tiny" not in f])
    known = dict(line.rsplit(" ", 1) for line in open(a.against).read().splitlines()) if a.against else {}
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        for folder in folders:
            if not os.path.exists(folder + "/golden.safetensors"):
                continue
            for device in a.d or ["host", "portable"]:
                for mode in ("exact", "packed"):
                    for chunk in a.c or ["512", "7", "1"]:
                        name = f"{os.path.basename(folder)} {device} {mode} {chunk}"
                        found = sum_of(a.koine, folder, device, mode, chunk, work)
                        differs = a.against and known.get(name) != found
                        bad += bool(differs)
                        print(f"{name} {found}" + (" DIFFERS" if differs else ""), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

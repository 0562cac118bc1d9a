"""The text of the model: six novels out of Debian's r-cran-janeaustenr, and its tokenizer.

Owns: unpacking the package, the split into training and held-out text, the BPE.
Does not: know anything about the network.
Invariant: the same package gives the same text, split and tokenizer, byte for byte.
"""
import json
import pathlib
import re
import struct
import subprocess
import zlib

NOVELS = ["sensesensibility", "prideprejudice", "mansfieldpark", "emma", "northangerabbey", "persuasion"]
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
SPECIAL = [BOS, EOS, "<｜User｜>", "<｜Assistant｜>", "<｜latest_reminder｜>"]
MARKS = ["<think>", "</think>", "｜DSML｜"]
HELD_OUT_SHARE = 0.04  # of every novel, its end
VOCAB = 2048


def unpack(work):
    """Downloads the Debian package into `work` (once) and returns the folder of its data."""
    work = pathlib.Path(work)
    work.mkdir(parents=True, exist_ok=True)
    data = work / "deb/usr/lib/R/site-library/janeaustenr/data"
    if not data.exists():
        if not list(work.glob("r-cran-janeaustenr_*.deb")):
            subprocess.run(["apt-get", "download", "r-cran-janeaustenr"], cwd=work, check=True)
        deb = sorted(work.glob("r-cran-janeaustenr_*.deb"))[-1]
        subprocess.run(["dpkg-deb", "-x", str(deb), str(work / "deb")], check=True)
    return data


def inflate(raw):
    """An .rdb entry: the length when inflated (big endian), then a letter for bzip2 or xz, then the stream."""
    size = struct.unpack(">I", raw[:4])[0]
    if raw[4:5] in (b"2", b"Z"):
        import bz2
        import lzma
        out = bz2.decompress(raw[5:]) if raw[4:5] == b"2" else lzma.decompress(raw[5:])
    else:
        out = zlib.decompress(raw[4:])
    if len(out) != size:
        raise ValueError(f"entry inflates to {len(out)} bytes, its header says {size}")
    return out


def entries(data):
    """name -> list of lines, for every novel in Rdata.rdb."""
    import rdata

    def parse(blob):
        return rdata.conversion.convert(rdata.parser.parse_data(blob))

    index = parse((data / "Rdata.rdx").read_bytes())["variables"]
    blob = (data / "Rdata.rdb").read_bytes()
    out = {}
    for name in NOVELS:
        at, length = (int(v) for v in index[name])
        out[name] = ["" if v is None else str(v) for v in parse(inflate(blob[at:at + length]))]
    return out


def tidy(lines):
    """Lines broken at 70 columns become paragraphs, one a line with a blank line between."""
    text = "\n".join(line.rstrip() for line in lines)
    text = re.sub(r"(?<=\S)\n(?=\S)", " ", text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def novels(work):
    """(training text, held-out text) of each novel: the end of each is held out, from a paragraph's start."""
    out = []
    for lines in entries(unpack(work)).values():
        text = tidy(lines)
        cut = text.index("\n\n", int(len(text) * (1 - HELD_OUT_SHARE))) + 2
        out.append((text[:cut], text[cut:]))
    return out


def train_tokenizer(texts):
    """Byte-level BPE with DeepSeek's order of splits, its control tokens first."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tok = Tokenizer(models.BPE())
    words = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    split = [pre_tokenizers.Split(Regex(p), "isolated")
             for p in (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", words)]
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        split + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    room = VOCAB - len(SPECIAL) - len(MARKS)
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tok.train_from_iterator(texts, trainer)
    return with_specials(json.loads(tok.to_str()))


def with_specials(spec):
    """Puts the control tokens at ids 0.. and everything learned after them, and adds BOS as the processor does."""
    from tokenizers import Tokenizer
    names = SPECIAL + MARKS
    learned = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    spec["model"]["vocab"] = {t: i for i, t in enumerate(names + learned)}
    spec["added_tokens"] = [
        {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": t in MARKS, "special": t in SPECIAL} for i, t in enumerate(names)]
    spec["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": BOS, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {BOS: {"id": BOS, "ids": [0], "tokens": [BOS]}}}
    return Tokenizer.from_str(json.dumps(spec))

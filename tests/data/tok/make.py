#!/usr/bin/env python3
"""Makes the small tokenizers beside this file, and texts with the ids that `tokenizers` (PyPI) gives for them. Run by hand:

    python3 tests/data/tok/make.py

cases.txt has a line a text: its bytes in hexadecimal, or - for none, then the ids."""
import json, os, random, sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(HERE)))
import check_tokenizers as check
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

CONTROL = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "</think>", "\uff5cDSML\uff5c",
           "<\uff5clatest_reminder\uff5c>", "<\uff5caction\uff5c>", "<\uff5cquery\uff5c>", "<\uff5cauthority\uff5c>", "<\uff5cdomain\uff5c>", "<\uff5ctitle\uff5c>", "<\uff5cread_url\uff5c>", "<\uff5cplace\u2581holder\uff5c>"]


def write(name, t, rng, n, configs=None, text_merges=False):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    data = json.loads(t.to_str())
    if text_merges:
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    t = Tokenizer.from_str(json.dumps(data))
    for file, content in {"tokenizer.json": data, **(configs or {})}.items():
        with open(os.path.join(folder, file), "w") as f:
            json.dump(content, f, ensure_ascii=False)
            f.write("\n")
    extra = [x.content for x in t.get_added_tokens_decoder().values()]
    texts = ["", " ", "a", "Hello, world! It's 12345 o'clock.\r\n\r\n\tx  y   z \n", "\u4f60\u597d\u3053\u3093\u306b\u3061\u306f\u30ab\u30bf" * 12, "".join(extra)]
    texts += [check.random_string(rng, extra) for _ in range(n)]
    with open(os.path.join(folder, "cases.txt"), "w") as f:
        for text in texts:
            f.write(" ".join([text.encode().hex() or "-"] + [str(i) for i in t.encode(text).ids]) + "\n")


def main():
    rng = random.Random(7)
    text = check.corpus(rng, 300_000)
    deepseek = check.split_pre(check.SPLITS["deepseek"])
    t = check.train(text, deepseek, 480)
    for i, name in enumerate(CONTROL):  # in the published file, too, some control tokens are not marked special
        t.add_tokens([AddedToken(name, special=i not in (2, 3, 4, 5), normalized=2 <= i < 6)])
    write("deepseek", t, rng, 150, {
        "tokenizer_config.json": {"add_bos_token": False, "bos_token": {"__type": "AddedToken", "content": CONTROL[0]}, "eos_token": {"__type": "AddedToken", "content": CONTROL[1]}},
        "generation_config.json": {"bos_token_id": t.token_to_id(CONTROL[0]), "eos_token_id": [t.token_to_id(CONTROL[1]), t.token_to_id(CONTROL[3])]}}, True)
    t = check.train(text, pre_tokenizers.ByteLevel(add_prefix_space=True), 400)
    t.add_tokens([AddedToken("the", single_word=True), AddedToken("foo", lstrip=True), AddedToken("==", rstrip=True, normalized=False), AddedToken("it's", lstrip=True, rstrip=True)])
    t.normalizer = normalizers.Sequence([normalizers.Replace("e", "\u00eb"), normalizers.Prepend(">")])
    t.post_processor = processors.TemplateProcessing(single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 0), ("<|end|>", 1)])
    write("steps", t, rng, 60)
    for behaviour, invert in [("Removed", False), ("Contiguous", False), ("Contiguous", True), ("MergedWithPrevious", True), ("MergedWithNext", False)]:
        t = check.train(text[:40_000], deepseek, 300)
        data = json.loads(t.to_str())
        data["pre_tokenizer"]["pretokenizers"][2].update(behavior=behaviour, invert=invert, pattern={"Regex": r"[\p{L}\p{M}]|,"})
        data["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Digits", "individual_digits": invert})
        data["model"]["ignore_merges"] = invert
        write(behaviour.lower() + ("_not" if invert else ""), Tokenizer.from_str(json.dumps(data)), rng, 25)


main()

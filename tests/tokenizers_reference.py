#!/usr/bin/env python3
"""Writes tokenizers of every kind and what Hugging Face's `tokenizers` (and Google's `sentencepiece`, if installed)
make of random texts with them: OUT/<name>/tokenizer.json (or tokenizer.model) and OUT/<name>/cases.json.

    python3 tests/tokenizers_reference.py OUT [SEED]

src/text/tokenizers_reference_test.cpp runs this and compares.
"""
import io, json, os, random, sys, unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

OUT = sys.argv[1]
RNG = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)

WORDS = """the of and to in is that for it as was with be by on not he I'll you're don't they've IT'S we'd Hello hello world
internationalization tokenizer tokens <s> </s> <unk> [CLS] [MASK] <|im_start|> <|im_end|> user assistant 1 12 123 1234 12345678
3.14 1,000,000 x==y a->b foo_bar fooBar FOO // /* */ {} [] () " ' ` ... ?! @#$%^&* naïve café Ångström straße ŒUVRE İstanbul ǅ
привет мир Ελληνικά שלום עולם مرحبا नमस्ते สวัสดี 你好 世界 こんにちは カタカナ 한국어 각 가 ①②③ ½ ² ﬁ ﬀ Ａｂｃ １２ ™ ︙ e\u0301 a\u030a\u0323
🦙 👩‍👩‍👧‍👦 🇩🇪 👍🏽 𠀀 \u200b \u200d \ufeff \ufffd \u2581 ▁▁ Ġ Ċ \u00ad""".split()
BLANKS = [" ", " ", " ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t", " \n ", "\u00a0", "\u3000", "\u2028", "\x0b", "\x85", ""]
# Characters that were assigned in Unicode 3.2: every library's tables agree about them.
CHARS = [chr(c) for c in range(1, 0x30000)
         if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Cs", "Co") and c != 0x180e]


def random_text():
    kind = RNG.random()
    if kind < 0.1:
        return "".join(RNG.choice(CHARS) for _ in range(RNG.randrange(12)))
    if kind < 0.2:
        return "".join(RNG.choice("ab \n.1'") for _ in range(RNG.randrange(16)))
    parts = []
    for _ in range(RNG.randrange(1, 14)):
        word = RNG.choice(WORDS)
        if RNG.random() < 0.1:
            word = "".join(RNG.choice([word.upper(), word.lower(), word.title()]))
        if RNG.random() < 0.1:
            word = word[:RNG.randrange(len(word) + 1)] + RNG.choice(CHARS)
        parts += [word, RNG.choice(BLANKS)]
    return "".join(parts)


TEXTS = ["", " ", "  ", "\n", "\0", "a\0b", "Hello world", " Hello  world \n", "<s>hi</s>", "x <mask> y", "▁", "éé"]
CORPUS = [random_text() for _ in range(3000)]
CORPUS += ["".join(RNG.choice(WORDS) + " " for _ in range(10)) for _ in range(1000)]


def save(name, tokenizer, texts=250, added=()):
    if added:
        tokenizer.add_tokens([t for t in added if not t.special])
        tokenizer.add_special_tokens([t for t in added if t.special])
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    encode, decode = [], []
    for text in TEXTS + [random_text() for _ in range(texts)]:
        parse, special = RNG.random() < 0.5, RNG.random() < 0.5
        tokenizer.encode_special_tokens = not parse
        ids = tokenizer.encode(text, add_special_tokens=special).ids
        encode.append({"text": text, "parse_special": parse, "add_special": special, "ids": ids})
        some = RNG.sample(range(size), min(size, RNG.randrange(9)))
        for ids in (ids, some):
            skip = RNG.random() < 0.5
            try:
                decode.append({"ids": ids, "skip_special": skip,
                               "text": tokenizer.decode(ids, skip_special_tokens=skip)})
            except BaseException:  # some of its decoders panic on tokens that are short or empty
                pass
    write_cases(folder, encode, decode)


def write_cases(folder, encode, decode):
    with io.open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
        json.dump({"encode": encode, "decode": decode}, f, ensure_ascii=False)


def train(tokenizer, trainer, corpus=CORPUS):
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
PATTERNS = {
    "gpt2": GPT2,
    "llama3": LLAMA3,
    "qwen2": QWEN2,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "gpt4o": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "words": r"\w+|[^\w\s]+",
    "boundary": r"\b",
    "lines": r"^.*$",
    "hex": r"\h+|\H",
    "posix": r"[[:alpha:]]+|[[:space:]]+|[[:punct:]]+",
    "negated": r"[^[a-z][0-9]\s]+",
    "intersection": r"[\w&&[^\d_]]+",
    "thousands": r"\d{1,3}(?=(?:\d{3})*\b)",
    "groups": r"(?=(\d{3})+(?!\d))",
    "dotall": r"(?m:<.*>)|(?i)HeLLo",
    "long_names": r"\p{Letter}+|\p{Uppercase_Letter}|\p{^Han}|\P{Number}",
    "lazy": r"a.*?b|x{,2}y|\s{2,}?",
}

# Merges that cross every boundary, so that the ids show where a pre-tokenizer cuts.
bytelevel = Tokenizer(models.BPE())
bytelevel.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
bytelevel = train(bytelevel, trainers.BpeTrainer(
    vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, max_token_length=12))
CROSSING = bytelevel.to_str()


def cutting(pre, normalizer=None):
    t = Tokenizer.from_str(CROSSING)
    t.pre_tokenizer = pre_tokenizers.Sequence(pre + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    if normalizer is not None:
        t.normalizer = normalizer
    return t


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


for name, pattern in PATTERNS.items():
    save("pattern-" + name, cutting([split(Regex(pattern))]))
for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
    for invert in (False, True):
        save(f"split-{behavior}-{invert}", cutting([split(Regex(r"\s|[aeo]"), behavior, invert)]), 100)
    save(f"split-{behavior}-literal", cutting([split("o", behavior)]), 100)
    save(f"punctuation-{behavior}", cutting([pre_tokenizers.Punctuation(behavior)]), 100)
save("split-empty", cutting([split("")]), 100)
save("digits", cutting([pre_tokenizers.Digits(False)]), 100)
save("digits-individual", cutting([pre_tokenizers.Digits(True), split(Regex(GPT2))]), 100)
save("whitespace", cutting([pre_tokenizers.Whitespace()]), 100)
save("whitespace-split", cutting([pre_tokenizers.WhitespaceSplit()]), 100)
save("bert-pre", cutting([pre_tokenizers.BertPreTokenizer()]), 100)
save("delimiter", cutting([pre_tokenizers.CharDelimiterSplit("e")]), 100)
if hasattr(pre_tokenizers, "FixedLength"):
    save("fixed-length", cutting([pre_tokenizers.FixedLength(length=3)]), 100)
for scheme in ("always", "first", "never"):
    for cut in (False, True):
        save(f"metaspace-{scheme}-{cut}", cutting([pre_tokenizers.Metaspace("▁", scheme, cut)]), 100,
             [AddedToken("world"), AddedToken("<s>", special=True)])
prefixed = Tokenizer.from_str(CROSSING)
prefixed.pre_tokenizer, prefixed.decoder = pre_tokenizers.ByteLevel(add_prefix_space=True), decoders.ByteLevel()
prefixed.post_processor = processors.ByteLevel(trim_offsets=True)
save("gpt2", prefixed, 300, [AddedToken("<|im_start|>", special=True), AddedToken("world")])

for name, normalizer in {
        "nfc": normalizers.NFC(), "nfd": normalizers.NFD(), "nfkc": normalizers.NFKC(), "nfkd": normalizers.NFKD(),
        "lowercase": normalizers.Lowercase(), "strip-accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        "strip": normalizers.Strip(), "strip-left": normalizers.Strip(left=True, right=False),
        "nmt": normalizers.Nmt(), "prepend": normalizers.Prepend("_"),
        "replace": normalizers.Replace("l", "LL"), "replace-regex": normalizers.Replace(Regex(r"\s+"), "_"),
        "bert": normalizers.BertNormalizer(), "bert-cased": normalizers.BertNormalizer(lowercase=False),
        "bert-plain": normalizers.BertNormalizer(False, False, True, False)}.items():
    save("normalizer-" + name, cutting([split(Regex(GPT2))], normalizer), 150,
         [AddedToken("Hello", normalized=True), AddedToken("[CLS]", special=True, normalized=False)])
bytes_normalizer = Tokenizer.from_str(CROSSING)
bytes_normalizer.normalizer, bytes_normalizer.decoder = normalizers.ByteLevel(), decoders.ByteLevel()
bytes_normalizer.pre_tokenizer = split(Regex("Ġ?[a-z]+"))
save("normalizer-bytelevel", bytes_normalizer)

ADDED = [
    AddedToken("<s>", special=True), AddedToken("</s>", special=True), AddedToken("<|im_start|>", special=True),
    AddedToken("<mask>", special=True, lstrip=True), AddedToken("[MASK]", special=True, rstrip=True),
    AddedToken("<|im_end|>", special=True, rstrip=True, lstrip=True), AddedToken("user", single_word=True),
    AddedToken("hello", normalized=True), AddedToken("hello world", normalized=False), AddedToken("o wor"),
    AddedToken("  "), AddedToken("\n\n"), AddedToken("ab"), AddedToken("abab ", rstrip=True), AddedToken("b", lstrip=True),
]
llama3 = Tokenizer.from_str(CROSSING)
spec = json.loads(llama3.to_str())
spec["model"]["ignore_merges"] = True
llama3 = Tokenizer.from_str(json.dumps(spec))
llama3.pre_tokenizer = pre_tokenizers.Sequence([split(Regex(LLAMA3)), pre_tokenizers.ByteLevel(False, use_regex=False)])
llama3.decoder = decoders.ByteLevel()
llama3.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
llama3.post_processor = processors.Sequence([
    processors.ByteLevel(), processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(t, llama3.token_to_id(t)) for t in ("<s>", "</s>")])])
save("llama3", llama3, 400, ADDED)
qwen = cutting([split(Regex(QWEN2))], normalizers.NFC())
save("qwen2", qwen, 400, ADDED)


def spm_bpe(byte_fallback):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + ([f"<0x{b:02X}>" for b in range(256)] if byte_fallback else [])
    train(t, trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False, limit_alphabet=120,
                                 max_token_length=10))
    spec = json.loads(t.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(spec))
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


save("spm-bpe", spm_bpe(True), 400, ADDED)
save("spm-bpe-unk", spm_bpe(False), 400)
mistral = spm_bpe(True)
mistral.normalizer = normalizers.Sequence([])
mistral.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", False)
mistral.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", "first")])
save("spm-bpe-metaspace", mistral, 200, ADDED)

unigram = Tokenizer(models.Unigram())
unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
train(unigram, trainers.UnigramTrainer(vocab_size=600, unk_token="<unk>", special_tokens=["<unk>", "</s>"],
                                       show_progress=False),
      ["".join(c for c in text if c < "\u0400") for text in CORPUS])
unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
save("unigram", unigram, 400, ADDED)
spec = json.loads(unigram.to_str())
spec["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
spec["model"]["byte_fallback"] = True
spec["added_tokens"] = []
unigram = Tokenizer.from_str(json.dumps(spec))
unigram.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
save("unigram-bytes", unigram, 300)

bert = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12))
bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
bert.decoder = decoders.WordPiece()
train(bert, trainers.WordPieceTrainer(vocab_size=900, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"],
                                      limit_alphabet=150, show_progress=False))
bert.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
save("wordpiece", bert, 400)

level = Tokenizer(models.WordLevel(unk_token="<unk>"))
level.pre_tokenizer = pre_tokenizers.Whitespace()
train(level, trainers.WordLevelTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False))
save("wordlevel", level, 200)

suffix = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=False))
suffix.pre_tokenizer, suffix.decoder = pre_tokenizers.WhitespaceSplit(), decoders.BPEDecoder("</w>")
train(suffix, trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>"], end_of_word_suffix="</w>",
                                  limit_alphabet=100, show_progress=False))
save("bpe-suffix", suffix, 200)
prefix = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
prefix.pre_tokenizer, prefix.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece("##", cleanup=False)
train(prefix, trainers.BpeTrainer(vocab_size=900, special_tokens=["<unk>"], continuing_subword_prefix="##",
                                  limit_alphabet=100, show_progress=False))
save("bpe-prefix", prefix, 200)

for name, chain in {
        "fused-replace": [decoders.Fuse(), decoders.Replace("lo", "0")],
        "fused-regex": [decoders.Fuse(), decoders.Replace(Regex("o+ ?"), "0")],
        "fused-strip": [decoders.Fuse(), decoders.Strip("H", 2, 0)],
}.items():
    t = cutting([split(Regex(GPT2))])
    t.decoder = decoders.Sequence(chain)
    save("decoder-" + name, t, 100)

try:
    import sentencepiece
except ImportError:
    sys.exit(0)


def save_sentencepiece(name, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["".join(c for c in t if "\0" < c < "\u0400") for t in CORPUS]), model_writer=model, minloglevel=2, **options)
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as f:
        f.write(model.getvalue())
    sp = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    encode, decode = [], []
    for text in TEXTS + [random_text() for _ in range(300)]:
        if "\0" in text or "▁" in text:
            continue
        ids = sp.encode(text)
        encode.append({"text": text, "parse_special": False, "add_special": False, "ids": ids})
        if "\u2047" not in sp.decode(ids):  # how sentencepiece prints an unknown piece
            decode.append({"ids": ids, "skip_special": True, "text": sp.decode(ids)})
    write_cases(folder, encode, decode)
    return model.getvalue()


save_sentencepiece("sentencepiece-llama", model_type="bpe", vocab_size=1000, byte_fallback=True, character_coverage=0.98,
                   normalization_rule_name="identity", remove_extra_whitespaces=False)
save_sentencepiece("sentencepiece-user", model_type="bpe", vocab_size=1000, byte_fallback=True, character_coverage=0.98,
                   normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False,
                   user_defined_symbols=["▁▁", "▁▁▁", "hello", "user"])
t5 = save_sentencepiece("sentencepiece-t5", model_type="unigram", vocab_size=600, normalization_rule_name="nmt_nfkc",
                        hard_vocab_limit=False)
save_sentencepiece("sentencepiece-cf", model_type="unigram", vocab_size=900, normalization_rule_name="nmt_nfkc_cf",
                   byte_fallback=True, character_coverage=0.98, hard_vocab_limit=False)



def length_delimited(message, number):
    """The last length-delimited field of a protocol buffer with this number."""
    at, found = 0, b""

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        size = varint() if key & 7 in (0, 2) else 4
        if key & 7 == 0:
            continue
        if key == number << 3 | 2:
            found = message[at:at + size]
        at += size
    return found


# The charsmap of the model above, as Hugging Face reads it.
charsmap = length_delimited(length_delimited(t5, 3), 2)
save("normalizer-precompiled", cutting([split(Regex(GPT2))], normalizers.Precompiled(charsmap)), 300)

#!/usr/bin/env python3
"""Small tokenizers of kinds that no real file at hand shows, with what their own libraries make of texts.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3
    venv/bin/python tests/golden/tokenizer/make.py

Writes NAME.json (Hugging Face tokenizers) and NAME.model (SentencePiece), trained on this project's documents, texts.json
with the texts, and NAME.expected.json with ids and decoded text of each. The test that reads them needs no Python.
"""
import base64, glob, io, json, os, random

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..", "..")

LINES = [
    "Zażółć gęślą jaźń", "Привет, мир", "こんにちは世界", "한국어 텍스트", "नमस्ते दुनिया", "สวัสดี", "مرحبا بالعالم",
    "naïve café résumé", "ｆｕｌｌ ｗｉｄｔｈ", "e\u0301 composed", "x² + ½",
]
TEXTS = LINES + [
    "", " ", "    ", "a", "The scheduler gives work to workers.", "  two  blanks   here ", "trailing blank ", "\n", "a\nb\n\n c\t d\r\n",
    "\u2581", "a\u2581b \u2581\u2581 c", "<s>", "</s> x <unk>", "text <s> in the middle<user> of <user>text", "<user><user>", "ab<use>",
    "ﬁne ligature", "①②③ Å ﷺ", "\u00a0no\u00a0break\u3000wide", "\u200b\u200d\ufeff", "\x00\x01\x1f\x7f", "\ufffd", "👨‍👩‍👧‍👦🏳️‍🌈🇩🇪", "é\u0301\u0302",
    "क्षि स्त्री", "각 \u1100\u1161\u11a8", "12345 3.14 1,000", "....... ---- ====", "UPPER lower MiXeD", "ǅ İstanbul ß ẞ", "``quoted'' text",
    "\U0001F600 zz \U0010fffd\ue000", "a" * 70, "\u0301start", "\r\n", "e\u0301e\u0301 ｶﾞ ﾊﾟ", "l'été, c'est l'été",
]

def random_texts():
    draw = random.Random(11)
    letters = list("abcdehnorst   \n.,'12éüß½ﬁ①ＡｶΩя字語한🙂\u0301\u200d\u00a0\u2581") + ["<s>", "<user>", "worker", "the "]
    return ["".join(draw.choice(letters) for _ in range(draw.randint(1, 30))) for _ in range(120)]

def corpus():
    lines = list(LINES) * 4
    for name in sorted(glob.glob(os.path.join(ROOT, "*.md")) + glob.glob(os.path.join(ROOT, "docs", "*.md"))):
        lines += [line.strip() for line in open(name, encoding="utf-8") if len(line) < 300]
    return lines

def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
        json.dump(value, out, ensure_ascii=True, separators=(",", ":"))
        out.write("\n")

RULES = {"ﬁ": "fi", "①": "1", "ｶﾞ": "ガ", "ｶ": "カ", "Ａ": "A", "½": "1/2", "\u00a0": " ", "\u3000": " ", "\u200b": "", "e\u0301": "é",
         "\n": " ", "\t": " ", "\r": ""}

def spm(name, **options):
    rules = os.path.join(HERE, "rules.tsv")
    with open(rules, "w", encoding="utf-8") as out:
        for source, target in RULES.items():
            code = lambda s: " ".join("%04X" % ord(c) for c in s)
            out.write("%s\t%s\n" % (code(source), code(target)))
    if options.pop("mapped", False):
        options["normalization_rule_tsv"] = rules
    else:
        options.setdefault("normalization_rule_name", "identity")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus()), model_writer=model, minloglevel=2, **options)
    os.remove(rules)
    path = os.path.join(HERE, name + ".model")
    with open(path, "wb") as out:
        out.write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    ids = [processor.encode(text) for text in TEXTS]
    # The surface of an unknown character is a matter of taste; ours is the token.
    write(name + ".expected.json", {"ids": ids, "texts": [processor.decode(i).replace(" \u2047 ", "<unk>") for i in ids]})
    return processor

def charsmap(processor):
    """The precompiled map out of a SentencePiece model: field 2 of field 3."""
    def fields(data):
        at = 0
        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            key = varint()
            if key & 7 == 0:
                varint()
            else:
                size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
                yield key >> 3, data[at:at + size]
                at += size
    spec = dict(fields(processor.serialized_model_proto()))[3]
    return base64.b64encode(dict(fields(spec))[2]).decode()

def hugging_face(name, tokenizer):
    tokenizer.save(os.path.join(HERE, name + ".json"), pretty=False)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    write(name + ".expected.json", {"ids": ids, "texts": [tokenizer.decode(i, skip_special_tokens=False) for i in ids]})

def precompiled(blob):
    return normalizers.Normalizer.from_str(json.dumps({"type": "Precompiled", "precompiled_charsmap": blob})) \
        if hasattr(normalizers.Normalizer, "from_str") else normalizers.Precompiled(base64.b64decode(blob))

def unigram(name, normalizer, pre_tokenizer, size, byte_fallback=False, special=("<s>", "</s>", "<unk>")):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=list(special), unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    if byte_fallback:
        model = json.loads(tokenizer.to_str())["model"]
        vocab = [(token, score) for token, score in model["vocab"]] + [("<0x%02X>" % b, 0.0) for b in range(256)]
        tokenizer.model = models.Unigram(vocab, model["unk_id"], True)
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", tokenizer.token_to_id("<s>")), ("</s>", tokenizer.token_to_id("</s>"))])
    hugging_face(name, tokenizer)

def main():
    TEXTS.extend(random_texts())
    write("texts.json", {"texts": TEXTS})
    mapped = spm("unigram-mapped", model_type="unigram", vocab_size=420, mapped=True, character_coverage=0.995, user_defined_symbols=["<user>", "work"])
    spm("unigram-bytes", model_type="unigram", vocab_size=640, byte_fallback=True, character_coverage=0.99, remove_extra_whitespaces=False,
        user_defined_symbols=["<user>", "\n", "\u2581\u2581"], bos_id=2, eos_id=1, unk_id=3, pad_id=0, bos_piece="<bos>", eos_piece="<eos>")
    spm("bpe-mapped", model_type="bpe", vocab_size=420, mapped=True, character_coverage=0.995, user_defined_symbols=["<user>", "work"])
    spm("bpe-no-prefix", model_type="bpe", vocab_size=640, byte_fallback=True, character_coverage=0.99, add_dummy_prefix=False,
        remove_extra_whitespaces=False, user_defined_symbols=["\n\n", "\u2581\u2581", "\u2581\u2581\u2581"])
    blob = charsmap(mapped)
    blanks = normalizers.Replace(Regex(" {2,}"), " ")
    unigram("hf-unigram-plain", normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), blanks]), pre_tokenizers.Metaspace(), 300)
    unigram("hf-unigram-mapped", normalizers.Sequence([precompiled(blob), blanks]),
            pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), 300)
    unigram("hf-unigram-bytes", precompiled(blob), pre_tokenizers.Metaspace(prepend_scheme="first", split=False), 300, byte_fallback=True)
    unigram("hf-unigram-lower", normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
            normalizers.StripAccents(), normalizers.Lowercase(), precompiled(blob)]), pre_tokenizers.Metaspace(prepend_scheme="never"), 300)

main()

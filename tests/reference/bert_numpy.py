#!/usr/bin/env python3
"""A BERT sentence encoder in float64 NumPy, written from the architecture alone.

It shares nothing with Preon: the safetensors header is parsed by hand, text is split by a WordPiece tokeniser
written here, and every layer is plain NumPy in float64. It serves as the judge of Preon's fp32 embeddings.

    python3 bert_numpy.py MODEL_FOLDER "some text" [out.npy]

MODEL_FOLDER holds config.json, model.safetensors and vocab.txt (uncased WordPiece). Prints the token ids and the
embedding: mean over tokens of the last layer, scaled to length 1. Needs NumPy only.

Sources: Devlin et al., arXiv:1810.04805; Vaswani et al., arXiv:1706.03762; Wu et al., arXiv:1609.08144 (WordPiece);
Hendrycks and Gimpel, arXiv:1606.08415 (GELU); Reimers and Gurevych, arXiv:1908.10084 (mean pooling).
"""

import json
import math
import pathlib
import struct
import sys
import unicodedata

import numpy as np


def read_safetensors(path):
    """All F32, F16 and BF16 tensors of a file as float64 arrays."""
    raw = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in info["data_offsets"])
        data = raw[start:end]
        if info["dtype"] == "F32":
            flat = np.frombuffer(data, "<f4").astype(np.float64)
        elif info["dtype"] == "F16":
            flat = np.frombuffer(data, "<f2").astype(np.float64)
        elif info["dtype"] == "BF16":
            flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        else:
            continue
        tensors[name] = flat.reshape(info["shape"])
    return tensors


def is_punctuation(char):
    code = ord(char)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(char).startswith("P")


def is_cjk(char):
    code = ord(char)
    return 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x2FA1F


def split_words(text):
    """Lower case, no accents, words and single punctuation signs."""
    words, word = [], ""
    for char in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(char)
        if category == "Mn":
            continue
        if char.isspace():
            char = " "
        elif category.startswith("C"):
            continue
        if char == " " or is_punctuation(char) or is_cjk(char):
            if word:
                words.append(word)
            word = ""
            if char != " ":
                words.append(char)
        else:
            word += char
    return words + ([word] if word else [])


def tokenize(text, vocab):
    """Ids of [CLS], the greedy longest pieces of every word, [SEP]."""
    pieces = ["[CLS]"]
    for word in split_words(text):
        start, found = 0, []
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocab:
                    found.append(piece)
                    start = end
                    break
            else:
                found = ["[UNK]"]
                break
        pieces += found if len(word) <= 100 else ["[UNK]"]
    return [vocab[piece] for piece in pieces + ["[SEP]"]]


def layer_norm(x, gamma, beta, eps):
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * gamma + beta


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x):
    return x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))


def encode(ids, config, w):
    """Hidden states of the last layer: [tokens, hidden]."""
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    count, width = len(ids), config["hidden_size"] // config["num_attention_heads"]

    def dense(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x, name):
        return layer_norm(x, w[name + ".weight"], w[name + ".bias"], eps)

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][:count]
    x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}."
        q, k, v = (
            dense(x, f"{layer}attention.self.{part}").reshape(count, heads, width).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        probabilities = softmax(q @ k.transpose(0, 2, 1) / math.sqrt(width))
        context = (probabilities @ v).transpose(1, 0, 2).reshape(count, heads * width)
        x = norm(dense(context, layer + "attention.output.dense") + x, layer + "attention.output.LayerNorm")
        inner = gelu(dense(x, layer + "intermediate.dense"))
        x = norm(dense(inner, layer + "output.dense") + x, layer + "output.LayerNorm")
    return x


def embed(folder, text):
    """Token ids and the unit vector of a text."""
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text())
    vocab = {piece: i for i, piece in enumerate((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())}
    ids = tokenize(text, vocab)
    mean = encode(ids, config, read_safetensors(folder / "model.safetensors")).mean(axis=0)
    return ids, mean / np.linalg.norm(mean)


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    ids, vector = embed(sys.argv[1], sys.argv[2])
    print("ids", *ids)
    print("embedding", *(f"{value:.12f}" for value in vector))
    if len(sys.argv) == 4:
        np.save(sys.argv[3], vector)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Transformer layers in NumPy, bit for bit, written from docs/numerics.md alone.

A third implementation of the numerics contract: it was written without reading Preon's source, shares nothing with it, and
computes every node of `builtin:bitnet-tiny` that belongs to a layer (norms, quantisers, linears, attention, feed-forward)
in four precisions: w1.58a8, mxfp4, nvfp4, and nvfp4 with weights in tiles of 16x16. It runs `preon quantise` for the
weights and `preon run --no-fuse --dump` for the activations, then compares bits: the bytes of the quantised weights (quantised
here from the f32 weights), and each node's output. A layer starts from the dumped output of the one before it; inside a
layer every node takes what this file computed.

    pip install numpy
    python3 tests/reference/layer_numpy.py --preon target/release/preon

Exit code 0 means that all bits are equal. Section numbers in comments are those of docs/numerics.md.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

F32, F64 = np.float32, np.float64
HEADS, KV_HEADS, HEAD_DIM, LAYERS = 4, 2, 32, 4
EPS, THETA = F32(1e-5), 500000.0
INPUTS = {"short": "hello there", "long": "pack my box with five dozen liquor jugs"}  # and the model's own sample

RULE = '\n[[rule]]\nmatch = "{}"\nweights = "{}"\nactivations = "{}"\nattention = "{}"\nkv = "{}"\n'

def policy(name, weights, activations, attention):
    head = f'schema = "preon.policy/1"\nname = "{name}"\ndoc = "of tests/reference/layer_numpy.py"\n'
    rules = [("*", weights, activations, attention, attention), ("{embed*,head}", "bf16", "bf16", attention, attention)]
    return head + "".join(RULE.format(*rule) for rule in rules)

# name: weights, activations, attention and kv
POLICIES = {
    "w1.58a8": ("ternary/tensor", "int8/row", "bf16"),
    "mxfp4": ("mxfp4", "mxfp4", "mxfp4"),
    "nvfp4": ("nvfp4", "nvfp4", "nvfp4"),
    "nvfp4-16x16": ("nvfp4/16x16", "nvfp4", "nvfp4"),
}

# ---- Arithmetic

def fma(a, b, c):
    """fl(a*b + c), one rounding. The product of two f32 is exact in f64; the sum is rounded to odd there (TwoSum gives the
    error), and 53 bits rounded to odd round to 24 as the exact sum does."""
    a, b, c = np.broadcast_arrays(*(np.asarray(v, F32).astype(F64) for v in (a, b, c)))
    p = a * b
    s = p + c
    t = s - p
    err = (p - (s - t)) + (c - t)
    bits = np.ascontiguousarray(s).view(np.int64).copy()
    odd = np.isfinite(s) & (err != 0) & (bits & 1 == 0)
    bits[odd] += np.where((err > 0) == (s > 0), 1, -1)[odd]
    return bits.view(F64).astype(F32)

def horner(coefficients, x):
    p = np.broadcast_to(F32(coefficients[0]), x.shape)
    for c in coefficients[1:]:
        p = fma(p, x, F32(c))
    return p

def h(text):
    return F32(float.fromhex(text))

def exp(x):  # 7
    x = np.asarray(x, F32)
    low, high = x < F32(-87.3365402), x > F32(88.7228317)
    v = np.where(low | high, F32(0), x)
    j = fma(v, F32(1.44269502), F32(12582912)) - F32(12582912)
    r = fma(j, -h("0x1.62e400p-1"), v)
    r = fma(j, -h("0x1.7f7d1cp-20"), r)
    c = ("0x1.6a4734p-10", "0x1.12610ap-7", "0x1.555a76p-5", "0x1.55544cp-3", "0x1.fffff6p-2", "1", "1")
    p = horner([h(text) for text in c], r)
    j = np.clip(j, -126, 128).astype(np.int32)
    half = np.rint(j / 2).astype(np.int32)
    return np.where(low, F32(0), np.where(high, F32(np.inf), np.ldexp(np.ldexp(p, half), j - half))).astype(F32)

def l16(x, square=False):  # 7, along the last axis, in the dtype of x
    n = x.shape[-1]
    lanes = np.zeros(x.shape[:-1] + (16,), x.dtype)
    for at in range(0, n, 16):
        part = x[..., at:at + 16]
        w = part.shape[-1]
        lanes[..., :w] = fma(part, part, lanes[..., :w]) if square else lanes[..., :w] + part
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half:2 * half]
    return lanes[..., 0]

def rmsnorm(x, w):
    mean = l16(x, square=True) / F32(x.shape[-1])
    r = F32(1) / np.sqrt(mean + EPS)
    return (x * r[..., None]) * w

def softmax(x):
    e = exp(x - x.max(axis=-1, keepdims=True))  # no row of a causal mask is -infinity throughout
    return e * (F32(1) / l16(e))[..., None]

def rope(x, cos, sin):
    d = x.shape[-1] // 2
    x1, x2 = x[..., :d], x[..., d:]
    return np.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1)

def rope_tables(tokens):
    i = np.arange(HEAD_DIM // 2)
    f = np.power(THETA, -2.0 * i / HEAD_DIM).astype(F32)
    a = np.arange(tokens).astype(F32)[:, None] * f
    # cos and sin of f64 are within an ulp of f64, so that rounding to f32 is correct but for freak cases
    return np.cos(a.astype(F64)).astype(F32), np.sin(a.astype(F64)).astype(F32)

# ---- Formats and quantisers

E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], F32)

def to_e2m1(x):
    """Codes of f64 or f32 values: nearest, ties to the even code, saturating; keeps the sign of what underflows (1.5)."""
    m = np.abs(x)
    code = np.zeros(x.shape, np.uint8)
    for k in range(7):
        middle = (float(E2M1[k]) + float(E2M1[k + 1])) / 2
        code += (m > middle) | ((m == middle) & (k % 2 == 1))
    return code | (np.signbit(x).astype(np.uint8) << 3)

E4M3 = np.array([(1 + f / 8) * 2.0 ** (e - 7) if e else f / 8 * 2.0 ** -6 for e in range(16) for f in range(8)][:127], F64)

def to_e4m3(x):
    """Codes of non-negative values: nearest, ties to the even code, saturating at 448 (code 0x7e)."""
    middles = (E4M3[:-1] + E4M3[1:]) / 2
    x = np.asarray(x, F64)
    left = np.searchsorted(middles, x, side="left")  # middles below x
    tie = (left < len(middles)) & (middles[np.minimum(left, len(middles) - 1)] == x)
    return (left + (tie & (left % 2 == 1))).astype(np.uint8)

def to_bf16(x):
    u = np.ascontiguousarray(x, F32).view(np.uint32).astype(np.uint64)
    u = (u + 0x7fff + ((u >> 16) & 1)) >> 16 << 16
    return u.astype(np.uint32).view(F32)

class Quantised:
    """values: of the codes, f32. scales: f32, one for each run of `run` elements of the last axis (None: no scales).
    top: the scale of the whole tensor, or None. unit: quantum of an exact format, None for a cast."""

    def __init__(self, values, scales, run, top=None, unit=None, codes=None, scale_codes=None):
        self.values, self.scales, self.run, self.top = values, scales, run, top
        self.unit, self.codes, self.scale_codes = unit, codes, scale_codes

    def decoded(self):  # what --dump writes of a quantised node
        if self.scales is None:
            return self.values
        s = np.repeat(self.scales, self.run, axis=-1)[..., :self.values.shape[-1]]
        y = self.values * s  # exact for a scale in e4m3, so that the product with the top scale is one rounding
        return y if self.top is None else y * self.top

    def rows(self, index):  # one matrix of a stack of heads
        s = self.scales if self.scales is None else self.scales[index]
        return Quantised(self.values[index], s, self.run, self.top, self.unit)

def blocks(x, b):
    """[.., n] to [.., ceil(n/b), b], padded with zeros, which change no absmax."""
    n = x.shape[-1]
    pad = -n % b
    x = np.concatenate([x, np.zeros(x.shape[:-1] + (pad,), x.dtype)], axis=-1)
    return x.reshape(x.shape[:-1] + (-1, b))

def mxfp4(x):  # 2.4, 8.2
    a = np.abs(blocks(x, 32)).max(axis=-1).astype(F64)
    e = np.where(a > 0, np.frexp(np.where(a > 0, a, 1))[1] - 1 - 2, -127)
    e = np.clip(e, -127, 127)
    per = np.repeat(e, 32, axis=-1)[..., :x.shape[-1]]
    codes = to_e2m1(np.ldexp(x.astype(F64), -per))
    scales = np.ldexp(F64(1), e).astype(F32)
    return Quantised(E2M1[codes], scales, 32, unit=.5, codes=codes, scale_codes=(e + 127).astype(np.uint8))

def nvfp4(x, tile_rows=1):  # 2.4, 8.3
    n = x.shape[-1]
    big, biggest = np.abs(x).max(), np.finfo(F32).max
    with np.errstate(all="ignore"):
        g = min(F32(2688) / big, biggest)
        g = F32(1) if big == 0 or g == 0 else F32(g)
    hh = F32(1) / g
    a = np.abs(blocks(x, 16)).max(axis=-1)
    if tile_rows > 1:
        pad = np.zeros((-len(a) % tile_rows, a.shape[1]), F32)
        a = np.concatenate([a, pad]).reshape(-1, tile_rows, a.shape[1]).max(axis=1)
    scale_codes = to_e4m3(a * (g * (F32(1) / F32(6))))
    s = E4M3[scale_codes].astype(F32)
    with np.errstate(all="ignore"):
        f = np.minimum(F32(1) / (s * hh), biggest)
    if tile_rows > 1:
        s, f = (np.repeat(v, tile_rows, axis=0)[:len(x)] for v in (s, f))
    codes = to_e2m1(x * np.repeat(f, 16, axis=-1)[..., :n])
    return Quantised(E2M1[codes], s, 16, top=F32(big / F32(2688)), unit=.5, codes=codes, scale_codes=scale_codes)

def int8_rows(x):  # 8
    a = np.maximum(np.abs(x).max(axis=-1), F32(1e-5))
    codes = np.clip(np.rint(x * (F32(127) / a)[..., None]), -128, 127)
    return Quantised(codes.astype(F32) + F32(0), (a / F32(127))[..., None], x.shape[-1], unit=1)

def ternary_tensor(x):  # 8: the mean of weights in f64
    a = max(F32(l16(np.abs(x.reshape(-1)).astype(F64)) / x.size), F32(1e-5))
    values = np.clip(np.rint(x * (F32(1) / a)), -1, 1).astype(F32)
    codes = np.where(values < 0, 2, values).astype(np.uint8)
    return Quantised(values + F32(0), np.full((len(x), 1), a), x.shape[-1], unit=1, codes=codes, scale_codes=a)

QUANTISERS = {
    "bf16": lambda x: Quantised(to_bf16(x), None, x.shape[-1]),
    "int8/row": int8_rows,
    "ternary/tensor": ternary_tensor,
    "mxfp4": mxfp4,
    "nvfp4": nvfp4,
    "nvfp4/16x16": lambda x: nvfp4(x, 16),
}
ELEMENT = {"bf16": "bf16", "int8/row": "int8", "mxfp4": "fp4e2m1", "nvfp4": "fp4e2m1"}

# ---- Dot products

def flush(g, a, b, c):
    """fz of 3.2, carrier bf16."""
    tiny = np.abs(g) <= F32(2.0 ** -126)
    if not tiny.any():
        return g
    t = fma(a * F32(2.0 ** 50), b * F32(2.0 ** 50), c * F32(2.0 ** 100))
    zero = tiny & (t != 0) & (np.abs(t) < F32(2.0 ** -26))
    return np.where(zero, np.copysign(F32(0), t), g)

def zero_tiny(x):
    return np.where(np.abs(x) < F32(2.0 ** -126), np.copysign(F32(0), x), x)

def pair_order(x, w):
    """P with carrier bf16: x [m, k], w [n, k]."""
    x, w = zero_tiny(blocks(x, 32)), zero_tiny(blocks(w, 32))
    total = np.zeros((len(x), len(w)), F32)
    for chunk in range(x.shape[1]):
        sums = [np.zeros_like(total), np.zeros_like(total)]
        for j in range(32):
            a, b, c = x[:, chunk, j][:, None], w[:, chunk, j][None, :], sums[j % 2]
            sums[j % 2] = flush(fma(a, b, c), a, b, c)
        total = zero_tiny(total + zero_tiny(sums[0] + sums[1]))
    return total + F32(0)

def dot(x, w):
    """3: x [m, k] of activations, w [n, k] of weights, both Quantised; the result is f32 [m, n]."""
    if x.unit is None:
        return pair_order(x.values, w.values)
    k = x.values.shape[1]
    run = min(x.run, w.run)
    total = np.zeros((len(x.values), len(w.values)), F32)
    for at in range(0, k, run):  # 3.4: the terms
        s = (x.values[:, at:at + run] / x.unit).astype(F64) @ (w.values[:, at:at + run] / w.unit).astype(F64).T
        f = (s * (x.unit * w.unit)).astype(F32) + F32(0)  # 3.1: the sums are small integers, exact in f64
        c = x.scales[:, at // x.run][:, None] * w.scales[:, at // w.run][None, :]
        total = fma(f, c, total)
    if x.top is not None or w.top is not None:
        total = total * ((F32(1) if x.top is None else x.top) * (F32(1) if w.top is None else w.top))
    return total

# ---- The layer

def layer(x, name, weights, quantised, types, check):
    """One layer. `check(node, array)` compares with the dump; x is the output of the layer before."""
    _, activations, attention = types
    act, att = QUANTISERS[activations], QUANTISERS[attention]
    tokens = len(x)

    def node(leaf, value):
        check(f"{name}.{leaf}", value)
        return value

    def quantise(leaf, value, how, kind):
        q = how(value)
        node(f"{leaf}.as.{ELEMENT[kind]}", q.decoded())
        return q

    def norm(leaf, value):
        y = node(leaf, rmsnorm(value, weights[f"{name}.{leaf}.weight"]))
        return quantise(leaf, y, act, activations)

    def linear(leaf, value):
        return node(leaf, dot(value, quantised[f"{name}.{leaf}.weight"]))
    n = norm("input_norm", x)
    q, k, v = (linear(leaf, n) for leaf in "qkv")

    def heads(leaf, value, count, axes):
        value = node(f"{leaf}.split", value.reshape(tokens, count, HEAD_DIM))
        return node(f"{leaf}.heads", np.ascontiguousarray(value.transpose(axes)))
    q = heads("q", q, HEADS, (1, 0, 2))
    k = heads("k", k, KV_HEADS, (1, 0, 2))
    v = heads("v", v, KV_HEADS, (1, 2, 0))  # [head, element, token]: the product with v sums over tokens
    cos, sin = rope_tables(tokens)
    q, k = node("q.rope", rope(q, cos, sin)), node("k.rope", rope(k, cos, sin))
    q = quantise("q.rope", q, att, attention)
    k = quantise("k.rope", k, att, attention)
    share = HEADS // KV_HEADS
    scores = node("scores", np.stack([dot(q.rows(i), k.rows(i // share)) for i in range(HEADS)]))
    scaled = node("scaled", scores * F32(1 / np.sqrt(HEAD_DIM)))
    mask = np.triu(np.full((tokens, tokens), F32(-np.inf)), 1)
    probs = node("probs", softmax(node("masked", scaled + mask)))
    probs = quantise("probs", probs, att, attention)
    v = quantise("v.heads", v, att, attention)
    context = node("context", np.stack([dot(probs.rows(i), v.rows(i // share)) for i in range(HEADS)]))
    context = node("context.tokens", np.ascontiguousarray(context.transpose(1, 0, 2)))
    context = node("context.rows", context.reshape(tokens, -1))
    x = node("attn_add", linear("o", norm("attn_sub_norm", context)) + x)
    n = norm("post_norm", x)
    gate, up = linear("gate", n), linear("up", n)
    r = np.maximum(gate, F32(0)) + F32(0)
    product = node("product", node("gate.relu2", r * r) * up)
    return node("ffn_add", linear("down", norm("ffn_sub_norm", product)) + x)

NODES = """input_norm input_norm.as.ACT q q.split q.heads k k.split k.heads v v.split v.heads q.rope k.rope q.rope.as.ATT
k.rope.as.ATT scores scaled masked probs probs.as.ATT v.heads.as.ATT context context.tokens context.rows attn_sub_norm
attn_sub_norm.as.ACT o attn_add post_norm post_norm.as.ACT gate up gate.relu2 product ffn_sub_norm ffn_sub_norm.as.ACT down
ffn_add""".split()

# ---- Files and the comparison

def safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    kinds = {"F32": F32, "U8": np.uint8, "BF16": np.uint16, "F16": np.float16}
    out = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            start, end = (8 + size + at for at in entry["data_offsets"])
            out[name] = np.frombuffer(data[start:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return out

def pack(codes, bits):  # 1.6
    rows, cols = codes.shape
    planes = (codes[..., None] >> np.arange(bits)) & 1
    return np.packbits(planes.astype(np.uint8).reshape(rows, cols * bits), axis=1, bitorder="little")

def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()

def main():
    parser = argparse.ArgumentParser(description="compare NumPy layers with Preon's, bit for bit")
    parser.add_argument("--preon", default="target/release/preon", help="the binary")
    parser.add_argument("--keep", help="keep the files that preon writes in this folder")
    args = parser.parse_args()
    temporary = tempfile.TemporaryDirectory()
    work = Path(args.keep or temporary.name)
    work.mkdir(parents=True, exist_ok=True)

    def preon(*words):
        done = subprocess.run([args.preon, *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"preon {' '.join(map(str, words))}\n{done.stderr}")

    def quantised_folder(name, text):
        (work / f"{name}.toml").write_text(text)
        preon("quantise", "builtin:bitnet-tiny", "-p", work / f"{name}.toml", "-o", work / f"weights-{name}", "--force")
        return safetensors(work / f"weights-{name}" / "model.safetensors")
    # a policy that leaves the layers alone gives their f32 weights
    plain = quantised_folder("plain", policy("plain", "fp32", "fp32", "fp32"))
    bad = 0
    for name, types in POLICIES.items():
        stored = quantised_folder(name, policy(name, *types))
        quantised, wrong = {}, []
        for tensor in (t for t in plain if t.startswith("blocks.") and plain[t].ndim == 2):
            q = quantised[tensor] = QUANTISERS[types[0]](plain[tensor])
            parts = {"": pack(q.codes, 2 if types[0] == "ternary/tensor" else 4),
                     ".scales": np.asarray(q.scale_codes).reshape(stored[tensor + ".scales"].shape)}
            if q.top is not None:
                parts[".global"] = np.array([q.top])
            wrong += [tensor + part for part, mine in parts.items() if not same(mine, stored[tensor + part])]
        print(f"{name}: {len(quantised)} weight tensors, {len(wrong)} of their parts differ {wrong[:5]}")
        bad += len(wrong)
        for label, text in {"sample": None, **INPUTS}.items():
            out = work / f"run-{name}-{label}"
            leaves = [n.replace("ACT", ELEMENT[types[1]]).replace("ATT", ELEMENT[types[2]]) for n in NODES]
            nodes = ["embed"] + [f"blocks.{i}.{leaf}" for i in range(LAYERS) for leaf in leaves]
            preon("run", "builtin:bitnet-tiny", "-p", work / f"{name}.toml", "--no-fuse", "--no-check", "-o", out,
                  *(["--input", text] if text else []), *(word for node in nodes for word in ("--dump", node)))
            dump = {n: np.load(out / "outputs" / name / f"{n}.npy") for n in nodes}
            seen, wrong = set(), []
            def check(node, mine):
                seen.add(node)
                theirs = dump[node]
                if mine.dtype != F32 or mine.shape != theirs.shape:
                    wrong.append(f"{node}: {mine.dtype} {mine.shape}, dumped {theirs.shape}")
                elif not same(np.ascontiguousarray(mine), theirs):
                    differ = mine.view(np.uint32) != theirs.view(np.uint32)
                    wrong.append(f"{node}: {differ.sum()} of {differ.size} elements")
            for i in range(LAYERS):
                x = dump["embed"] if i == 0 else dump[f"blocks.{i - 1}.ffn_add"]
                layer(x, f"blocks.{i}", plain, quantised, types, check)
            print(f"  {label}: {len(dump['embed'])} tokens, {len(seen) - len(wrong)} of {len(seen)} nodes equal")
            for line in wrong[:8]:
                print(f"    {line}")
            bad += len(wrong)
    return 1 if bad else 0

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Drives `preon formats round|encode|decode` over every name and mode and compares each bit with independent software:
ml_dtypes (casts), gfloat (rounding modes, with the same random bits), the gguf package (container blocks) and short
NumPy statements of the rules of docs/numerics.md where no library has them.

    check_formats.py PREON [VALUES]

VALUES is the number of inputs per cast (default 20000). Needs numpy, ml_dtypes, gfloat and gguf. Prints one line per
family and exits 1 on any mismatch.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
from gfloat import Domain, FormatInfo, RoundMode, encode_ndarray, round_ndarray

PREON = sys.argv[1]
VALUES = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
SCRATCH = Path(tempfile.mkdtemp(prefix="preon-formats-"))
RNG = np.random.default_rng(20_251)
F32 = np.float32
np.seterr(all="ignore")
totals: dict[str, list[int]] = {}


def preon(*arguments, data, dtype=np.uint8):
    """Output of a verb as an array."""
    command = [PREON, "formats", *[str(a) for a in arguments]]
    done = subprocess.run(command, input=np.ascontiguousarray(data).tobytes(), capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.decode()}")
    return np.frombuffer(done.stdout, dtype)


def compare(family, what, got, wanted, inputs=None):
    """Counts the elements of `got` that are not bit for bit those of `wanted`."""
    got, wanted = (a.view(np.uint32) if a.dtype == F32 else a for a in (np.ravel(got), np.ravel(wanted)))
    if got.size != wanted.size:
        sys.exit(f"{family}: {what}: {got.size} elements instead of {wanted.size}")
    wrong = np.flatnonzero(got != wanted.astype(got.dtype))
    count = totals.setdefault(family, [0, 0])
    count[0] += got.size
    count[1] += wrong.size
    for at in wrong[: max(0, min(3, 20 - count[1] + wrong.size))]:
        source = "" if inputs is None else f" for {inputs.ravel()[at]!r}"
        print(f"  {family}: {what}: [{at}] is {got[at]:#x}, not {int(wanted[at]):#x}{source}")


def code_type(bits):
    return np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32


# name: bits, exponent bits, fraction bits, bias, specials, ml_dtypes or numpy type
FLOATS = {
    "tf32": (32, 8, 10, 127, "ieee", None),
    "fp16": (16, 5, 10, 15, "ieee", np.float16),
    "bf16": (16, 8, 7, 127, "ieee", ml_dtypes.bfloat16),
    "fp8e4m3": (8, 4, 3, 7, "fn", ml_dtypes.float8_e4m3fn),
    "fp8e5m2": (8, 5, 2, 15, "ieee", ml_dtypes.float8_e5m2),
    "fp8e4m3fnuz": (8, 4, 3, 8, "fnuz", ml_dtypes.float8_e4m3fnuz),
    "fp8e5m2fnuz": (8, 5, 2, 16, "fnuz", ml_dtypes.float8_e5m2fnuz),
    "fp8e4m3b11fnuz": (8, 4, 3, 11, "fnuz", ml_dtypes.float8_e4m3b11fnuz),
    "fp8e4m3ieee": (8, 4, 3, 7, "ieee", ml_dtypes.float8_e4m3),
    "fp8e3m4": (8, 3, 4, 3, "ieee", ml_dtypes.float8_e3m4),
    "fp6e3m2": (6, 3, 2, 3, "none", ml_dtypes.float6_e3m2fn),
    "fp6e2m3": (6, 2, 3, 1, "none", ml_dtypes.float6_e2m3fn),
    "fp4e2m1": (4, 2, 1, 1, "none", ml_dtypes.float4_e2m1fn),
    "fp4e1m2": (4, 1, 2, 0, "none", None),
    "fp3e2m0": (3, 2, 0, 1, "none", None),
    "fp3e1m1": (3, 1, 1, 0, "none", None),
}
MODES = {
    "rne": RoundMode.TiesToEven,
    "rz": RoundMode.TowardZero,
    "rna": RoundMode.TiesToAway,
    "up": RoundMode.TowardPositive,
    "down": RoundMode.TowardNegative,
}
STOCHASTIC = {
    "sr": RoundMode.Stochastic,
    "srodd": RoundMode.StochasticOdd,
    "srfast": RoundMode.StochasticFast,
    "srfastest": RoundMode.StochasticFastest,
}


def info(name):
    """The row as gfloat's description."""
    bits, exp, man, bias, specials, _ = FLOATS[name]
    high = {"ieee": 2**man - 1, "fn": 1, "fnuz": 0, "none": 0}[specials]
    return FormatInfo(
        name=name, k=1 + exp + man, precision=man + 1, bias=bias, has_nz=specials != "fnuz",
        domain=Domain.Extended if specials == "ieee" else Domain.Finite, num_high_nans=high,
        has_subnormals=True, is_signed=True, is_twos_complement=False,
    )  # fmt: skip


def values_of(name):
    """Finite values of a row, ascending, from its fields."""
    _, exp, man, bias, specials, _ = FLOATS[name]
    codes = np.arange(2 ** (exp + man))
    field, fraction = codes >> man, codes & (2**man - 1)
    value = np.where(field == 0, fraction * 2.0 ** (1 - bias - man), (1 + fraction / 2**man) * 2.0 ** (field - bias))
    drop = {"ieee": 2**man, "fn": 1, "fnuz": 0, "none": 0}[specials]
    return value[: len(value) - drop]


def neighbours(x):
    """f32 values of `x`, their neighbours and their negatives."""
    x = x.astype(F32)
    all3 = np.concatenate([x, np.nextafter(x, F32(np.inf)), np.nextafter(x, F32(-np.inf))])
    return np.concatenate([all3, -all3])


def inputs(points, count, specials=True):
    """Ties and grid points +-1 ulp, magnitudes of every kind, raw bit patterns."""
    points = points if len(points) < 2000 else RNG.choice(points, 2000)
    ties = np.concatenate([points, (points[1:] + points[:-1]) / 2, points * 2, [points.max() * 1.5]])
    x = [neighbours(ties)]
    rest = max(count - x[0].size, 300) // 3
    top = float(np.log2(points.max()))
    x.append((RNG.standard_normal(rest) * 2.0 ** RNG.uniform(-8, 2, rest)).astype(F32))
    x.append((2.0 ** RNG.uniform(max(top - 40, -149), top + 3, rest) * RNG.choice([-1, 1], rest)).astype(F32))
    x.append(RNG.integers(0, 2**32, rest, dtype=np.uint32).view(F32))
    special = np.array([0, 0x80000000, 1, 0x80000001, 0x7FFFFF, 0x7F7FFFFF, 0xFF7FFFFF], np.uint32)
    infinite = np.array([0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF], np.uint32)
    x.append(np.concatenate([special, infinite]).view(F32))
    x = np.concatenate(x)
    return x if specials else x[np.isfinite(x)]


def expected_codes(name, x, mode, saturate, **draws):
    """Codes by gfloat, with the project's rules where the library has none (sign of NaN, NaN without a NaN code)."""
    bits, exp, man, _, specials, _ = FLOATS[name]
    fi = info(name)
    saturate = saturate or specials == "none"
    nan, negative = np.isnan(x), np.signbit(x)
    clean = np.where(nan, F32(0), x).astype(np.float64)
    rounded = round_ndarray(fi, clean, mode, saturate, **draws)
    codes = encode_ndarray(fi, rounded).astype(np.uint32)
    sign = negative.astype(np.uint32) << (exp + man)
    infinity = 2 ** (exp + man) - 2**man
    quiet = {"ieee": infinity | 1 << max(man - 1, 0), "fn": 2 ** (exp + man) - 1}.get(specials)
    is_nan = nan | np.isnan(rounded)
    if specials in ("ieee", "fn"):
        codes = np.where(is_nan, sign | quiet, codes)
    elif specials == "fnuz":
        codes = np.where(is_nan, 1 << (exp + man), codes)
    else:
        codes = np.where(is_nan, 2 ** (exp + man) - 1, codes)
    return (codes << (bits - 1 - exp - man)).astype(code_type(bits))


def check_casts():
    """Nearest even against ml_dtypes and NumPy, as codes and as rounded values."""
    for name, (bits, *_, specials, dtype) in FLOATS.items():
        if dtype is None:
            continue
        x = inputs(values_of(name), VALUES)
        known = ~np.isnan(x) if specials == "none" else np.ones(x.size, bool)
        wanted = x.astype(dtype).view(code_type(bits))
        if specials == "fnuz":
            wanted = np.where(np.isnan(x), 0x80, wanted)
        elif specials == "ieee":
            man = FLOATS[name][2]
            quiet = (np.signbit(x) * 2 ** (bits - 1) + 2 ** (bits - 1) - 2 ** (man - 1)).astype(wanted.dtype)
            wanted = np.where(np.isnan(x), quiet, wanted)
        got = preon("encode", name, "--no-saturate", data=x, dtype=code_type(bits))
        compare("casts", name, got[known], wanted[known], x[known])
        back = preon("round", name, "--no-saturate", data=x, dtype=np.uint32)
        nan = np.isnan(wanted.view(dtype).astype(F32))
        values = np.where(nan, 0x7FC00000, wanted.view(dtype).astype(F32).view(np.uint32))
        compare("casts", f"{name} round", (back & np.where(nan, 0x7FFFFFFF, 0xFFFFFFFF))[known], values[known])
        if bits <= 16:
            codes = np.arange(2**bits, dtype=code_type(bits))
            decoded = preon("decode", name, data=codes, dtype=F32)
            truth = codes.view(dtype).astype(F32)
            same = np.isnan(decoded) & np.isnan(truth) | (decoded.view(np.uint32) == truth.view(np.uint32))
            compare("decode", name, same.astype(np.uint8), np.ones(codes.size, np.uint8))


def check_plain():
    """fp32 and fp64 change nothing but NaN; e8m0 rounds to the nearest power, ties to even codes."""
    x = inputs(2.0 ** np.arange(-126.0, 127.0), VALUES)
    wanted = np.where(np.isnan(x), x.view(np.uint32) & 0x80000000 | 0x7FC00000, x.view(np.uint32))
    for verb in (("round", "fp32"), ("encode", "fp32"), ("decode", "fp32"), ("round", "fp64")):
        compare("plain", " ".join(verb), preon(*verb, data=x, dtype=np.uint32), wanted, x)
    for saturate in (True, False):
        value = x.astype(np.float64)
        exponent = np.where(value > 0, np.frexp(np.where(value > 0, value, 1))[1] - 1.0, -127)
        exponent = np.where(np.isfinite(value), exponent, 127)
        middle = 1.5 * 2.0**exponent
        up = (value > middle) | ((value == middle) & ((exponent + 127) % 2 == 1))
        code = np.clip(exponent + 127 + up, 0, 254)
        # Between 0 and 2^-127 is no code: the least stands for everything below it.
        code = np.where((value >= 0) & (value <= 2.0**-127), 0, code)
        bad = np.isnan(value) | (value < 0) | ((value > 1.5 * 2.0**127) if not saturate else False)
        got = preon("encode", "e8m0", "--saturate" if saturate else "--no-saturate", data=x)
        compare("plain", f"e8m0 saturate={saturate}", got, np.where(bad, 255, code), x)


def check_modes():
    """Every mode, saturating and not, against gfloat, stochastic ones with random bits from a file."""
    for name, (bits, *_) in FLOATS.items():
        x = inputs(values_of(name), VALUES // 4)
        draws = RNG.integers(0, 2**32, x.size, dtype=np.uint32)
        (SCRATCH / "draws").write_bytes(draws.tobytes())
        for saturate in (True, False):
            flag = "--saturate" if saturate else "--no-saturate"
            for word, mode in MODES.items():
                got = preon("encode", name, "--mode", word, flag, data=x, dtype=code_type(bits))
                compare("modes", f"{name} {word} {flag}", got, expected_codes(name, x, mode, saturate), x)
            for word, mode in STOCHASTIC.items():
                for k in (24, 7, 1):
                    with_bits = dict(srbits=(draws & (2**k - 1)).astype(np.int64), srnumbits=k)
                    wanted = expected_codes(name, x, mode, saturate, **with_bits)
                    arguments = ("--mode", word, "--bits", k, "--draws", SCRATCH / "draws", flag)
                    got = preon("encode", name, *arguments, data=x, dtype=code_type(bits))
                    compare("stochastic", f"{name} {word} k={k} {flag}", got, wanted, x)


def philox(counter, key):
    """Philox4x32-10 on arrays of four counters."""
    c, k = [np.asarray(v, np.uint64) for v in counter], [np.uint64(v) for v in key]
    low = np.uint64(0xFFFFFFFF)
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ k[0], b & low, (a >> np.uint64(32)) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + np.uint64(0x9E3779B9)) & low, (k[1] + np.uint64(0xBB67AE85)) & low]
    return c


def words(count, seed, tensor, step):
    """The draw of every element by docs/numerics.md, 2.3."""
    name = 0xCBF29CE484222325
    for byte in tensor.encode():
        name = (name ^ byte) * 0x100000001B3 % 2**64
    quad = np.arange((count + 3) // 4, dtype=np.uint64)
    zero = np.zeros(quad.size, np.uint64)
    lanes = philox(
        [quad, zero, zero + np.uint64(name & 0xFFFFFFFF), zero + np.uint64(step * 16)], (seed & 0xFFFFFFFF, seed >> 32)
    )
    return np.stack(lanes, axis=1).ravel()[:count]


def check_draws():
    """Counter-based draws, restated here, and the p-bit of binary."""
    x = inputs(values_of("fp4e2m1"), VALUES)
    seed, tensor, step = 0x1_2345_6789, "blocks.0.w", 3
    random = words(x.size, seed, tensor, step)
    named = ("--seed", seed, "--tensor", tensor, "--step", step)
    for name in ("fp4e2m1", "bf16"):
        bits = FLOATS[name][0]
        with_bits = dict(srbits=(random >> np.uint64(8)).astype(np.int64), srnumbits=24)
        wanted = expected_codes(name, x, RoundMode.Stochastic, name == "fp4e2m1", **with_bits)
        got = preon("encode", name, "--mode", "sr", *named, data=x, dtype=code_type(bits))
        compare("draws", name, got, wanted, x)
    x = x[np.isfinite(x)]
    random = random[: x.size] >> np.uint64(8)
    p = (F32(1) + np.clip(x / F32(0.7), F32(-1), F32(1))) * F32(0.5)
    wanted = (p.astype(np.float64) * 2**24 <= random).astype(np.uint8)
    got = preon("encode", "binary", "--mode", "pclip", "--range", "0.7", *named, data=x)
    compare("draws", "binary pclip", got, wanted, x)
    for level in (-2.0, -0.3, 0.0, 1.1):
        n = 100_000
        share = preon("round", "binary", "--mode", "psigmoid", "--temperature", "1.5", data=np.full(n, level, F32), dtype=F32)
        p = 1 / (1 + np.exp(-level / 1.5))
        off = abs(float((share > 0).mean()) - p) > 5 * np.sqrt(p * (1 - p) / n)
        compare("draws", f"binary psigmoid at {level}", np.array([off], np.uint8), np.zeros(1, np.uint8))


def nearest_level(x, levels, mode, thresholds=None):
    """Codebook rounding by docs/numerics.md, 2.5: index into the ascending levels."""
    x = x.astype(np.float64)
    if thresholds is not None and mode == "rne":
        return (x[:, None] > thresholds[None].astype(np.float64)).sum(1)
    zero = int(np.searchsorted(levels, 0.0))
    low = np.clip(np.searchsorted(levels, x, side="right") - 1, 0, len(levels) - 1)
    high = np.minimum(low + 1, len(levels) - 1)
    below, twice, middle = x < levels[0], 2 * x, levels[low] + levels[high]
    exact = levels[low] == x
    inner_low, inner_high = levels[low] >= 0, levels[high] <= 0
    nearest = twice > middle
    tie = twice == middle
    up = {
        "rne": np.where(tie, (high - zero) % 2 == 0, nearest),
        "rna": np.where(tie, x >= 0, nearest),
        "rz": np.where(inner_high, True, np.where(inner_low, False, np.where(tie, x >= 0, nearest))),
        "up": np.ones(x.size, bool),
        "down": np.zeros(x.size, bool),
    }[mode]
    return np.where(below, 0, np.where(exact, low, np.where(up, high, low)))


def check_codebooks():
    """Ints by rint and clip, codebooks by their levels."""
    plain = {"rne": np.rint, "rz": np.trunc, "up": np.ceil, "down": np.floor}
    plain["rna"] = lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5)
    for bits in (16, 8, 4, 3, 2):
        x = inputs(np.arange(1, 2 ** (bits - 1) + 3, dtype=np.float64), VALUES)
        for word, rounding in plain.items():
            value = np.clip(rounding(np.nan_to_num(x.astype(np.float64), nan=0.0)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            wanted = (value.astype(np.int64) & (2**bits - 1)).astype(code_type(bits))
            got = preon("encode", f"int{bits}", "--mode", word, data=x, dtype=code_type(bits))
            compare("ints", f"int{bits} {word}", got, wanted, x)
    log8 = 2.0 ** ((np.arange(1, 128) - 64) / 8)
    books = {
        "ternary": [0, 1, -1], "binary": [1, -1], "triplet": [-3, -1, 1, 3], "fp2": [1, 2, -1, -2],
        "fp2sparse": [0, 1, 2, -1, -2], "fp2zero": [0, 1, -1, 2], "fp1mask": [0, 1, None, -1],
        "log4": [0, *2.0 ** np.arange(-6, 1), None, *-(2.0 ** np.arange(-6, 1))],
        "log8": [0, *log8.astype(F32), None, *(-log8).astype(F32)],
        "nf4": list(NF4.astype(np.float64)),
    }  # fmt: skip
    for name, levels in books.items():
        pairs = sorted((float(v), code) for code, v in enumerate(levels) if v is not None)
        ladder, codes = np.array([v for v, _ in pairs]), np.array([c for _, c in pairs], np.uint8)
        x = inputs(np.sort(np.abs(ladder)), VALUES // 2)
        clean = np.where(np.isnan(x), F32(0), x)
        for word in MODES:
            borders = NF4_BORDERS if name == "nf4" else None
            nan = codes[nearest_level(np.zeros(1), ladder, "rne", borders)]
            wanted = np.where(np.isnan(x), nan, codes[nearest_level(clean, ladder, word, borders)])
            got = preon("encode", name, "--mode", word, data=x)
            compare("codebooks", f"{name} {word}", got, wanted, x)
        table = np.array([0 if v is None else v for v in levels], F32)
        everything = np.arange(len(levels), dtype=np.uint8)
        compare("decode", name, preon("decode", name, data=everything, dtype=F32), table)


NF4 = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], F32)  # fmt: skip
NF4_BORDERS = np.array([
    -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
    -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
    0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011], F32)  # fmt: skip

# name: element, emax, largest value, fraction bits
MX = {
    "mxfp8e4m3": ("fp8e4m3", 8, 448.0, 3),
    "mxfp8e5m2": ("fp8e5m2", 15, 57344.0, 2),
    "mxfp6e3m2": ("fp6e3m2", 4, 28.0, 2),
    "mxfp6e2m3": ("fp6e2m3", 2, 7.5, 3),
    "mxfp4": ("fp4e2m1", 2, 6.0, 1),
    "mxint8": ("int8", 0, 127 / 64, 6),
}


def mx_scale(amax, name, rule):
    """E8M0 code of the largest magnitude of a block, on the bits of an f32."""
    _, emax, largest, fraction = MX[name]
    bits = int(F32(amax).view(np.uint32))
    if bits >= 0x7F800000:
        return 0xFF
    if bits == 0:
        return 0
    significand, exponent = np.frexp(np.float64(amax))
    exponent = int(exponent) - 1
    if rule == "rceil":
        quotient = int((F32(amax) * (F32(1) / F32(largest))).view(np.uint32))
        field, low = quotient >> 23, quotient & 0x7FFFFF
        return field + (low > 0 and field != 0xFE and not (field == 0 and low <= 0x400000))
    if rule == "ceil":
        exponent += significand != 0.5
    elif rule == "even":
        exponent = ((bits + (1 << (22 - fraction))) >> 23) - 127
    return int(np.clip(exponent - emax, -127, 127)) + 127


def mx_codes(x, name, scale, mode):
    """Codes and values of a block under its scale, in f64 (the quotient by a power of two is exact)."""
    element = MX[name][0]
    if scale == 0xFF:
        return np.zeros(x.shape, np.uint8), np.full(x.shape, np.nan, F32)
    scaled = x.astype(np.float64) / 2.0 ** (scale - 127)
    if element == "int8":
        away = np.sign(scaled) * np.floor(np.abs(scaled * 64) + 0.5)
        whole = np.clip(np.rint(scaled * 64) if mode == "rne" else away, -128, 127)
        return whole.astype(np.int8).view(np.uint8), ((whole + 0.0) / 64 * 2.0 ** (scale - 127)).astype(F32)
    fi = info(element)
    rounded = round_ndarray(fi, scaled, MODES[mode], True)
    return encode_ndarray(fi, rounded).astype(np.uint8), (rounded * 2.0 ** (scale - 127)).astype(F32)


def matrix(rows, cols, finite=False):
    """Rows of many magnitudes with zero, tiny, huge, NaN and infinite blocks among them."""
    x = RNG.standard_normal((rows, cols)) * 2.0 ** RNG.uniform(-12, 12, (rows, 1))
    x[:: 7, : cols // 2] = 0
    x[1:: 7] *= 2.0 ** RNG.uniform(-3, 3, x[1:: 7].shape)
    x[2:: 14] *= 2.0**-135
    x[3:: 14] *= 2.0**100
    x[4:: 14, : 40] = 2.0 ** RNG.integers(-3, 4, x[4:: 14, : 40].shape)
    x = x.astype(F32)
    x[5:: 14, -40:] = np.nextafter(F32(2) ** RNG.integers(-5, 5, x[5:: 14, -40:].shape), F32(0))
    x[x.shape[0] // 2, : 3] = -0.0
    if not finite:
        x[6:: 14, 5], x[8:: 14, -1], x[9:: 28, 33] = np.nan, np.inf, -np.inf
    return x


def blocks_of(shape, block):
    for row in range(0, shape[0], block[0]):
        for col in range(0, shape[1], block[1]):
            yield slice(row, row + block[0]), slice(col, col + block[1])


def same_values(got, wanted):
    """Values with one NaN pattern, as bits."""
    return np.where(np.isnan(wanted), np.uint32(0x7FC00000), wanted.view(np.uint32)), got.view(np.uint32)


def check_blocks(name, x, block, arguments, quantise):
    """Runs encode, decode and round of a block format; `quantise` gives codes, values and the bytes of the scales."""
    codes, values, scales = quantise(x)
    shape = ("--cols", x.shape[1], "--block", f"{block[0]}x{block[1]}", *arguments)
    file = SCRATCH / "scales"
    what = f"{name} {' '.join(map(str, shape))}"
    got = preon("encode", name, *shape, "--scales", file, data=x)
    compare("blocks", f"{what} codes", got, codes, x)
    compare("blocks", f"{what} scales", np.fromfile(file, np.uint8), np.frombuffer(scales, np.uint8))
    decode = ("--cols", x.shape[1], "--block", f"{block[0]}x{block[1]}", "--scales", file)
    for verb in (("round", name, *shape), ("decode", name, *decode)):
        wanted, back = same_values(preon(*verb, data=x if verb[0] == "round" else got, dtype=F32), values.ravel())
        compare("blocks", f"{what} {verb[0]}", back, wanted)


def check_mx():
    rows = max(VALUES // 700, 30)
    for name in MX:
        for rule, mode in [("floor", "rne"), ("floor", "rna"), ("ceil", "rne"), ("rceil", "rne"), ("even", "rne")]:
            for cols, block in ((96, (1, 32)), (75, (1, 32)), (50, (1, 16)), (70, (4, 16))):
                def quantise(x):
                    codes, values, scales = np.zeros(x.shape, np.uint8), np.zeros(x.shape, F32), bytearray()
                    for part in blocks_of(x.shape, block):
                        scales.append(mx_scale(np.abs(x[part]).max(), name, rule))
                        codes[part], values[part] = mx_codes(x[part], name, scales[-1], mode)
                    return codes, values, bytes(scales)

                check_blocks(name, matrix(rows, cols), block, ("--scale-rule", rule, "--mode", mode), quantise)


def nvfp4(x, block):
    """NVFP4 in the order of operations of NVIDIA's reference, all f32."""
    e4m3 = ml_dtypes.float8_e4m3fn
    amax = np.abs(x).max()
    codes, values = np.zeros(x.shape, np.uint8), np.zeros(x.shape, F32)
    parts = list(blocks_of(x.shape, block))
    if not np.isfinite(amax):
        return codes, np.full(x.shape, np.nan, F32), np.uint32(0x7FC00000).tobytes() + b"\x7f" * len(parts)
    largest = np.finfo(F32).max
    g = min(F32(448 * 6) / amax, largest)
    g = F32(1) if amax == 0 or g == 0 else F32(g)
    down, stored = F32(1) / g, amax / F32(448 * 6)
    scales = bytearray()
    for part in parts:
        s = np.clip(np.abs(x[part]).max() * (g * (F32(1) / F32(6))), F32(-448), F32(448)).astype(e4m3)
        scales += s.tobytes()
        factor = min(F32(1) / (s.astype(F32) * down), largest)
        code = np.clip(x[part] * factor, F32(-6), F32(6)).astype(ml_dtypes.float4_e2m1fn)
        codes[part], values[part] = code.view(np.uint8), code.astype(F32) * s.astype(F32) * stored
    return codes, values, stored.tobytes() + bytes(scales)


def check_nvfp4():
    for rows, cols in ((48, 64), (50, 70), (7, 33)):
        for block in ((1, 16), (16, 16)):
            plain = RNG.standard_normal((rows, cols)).astype(F32)
            tiny, poisoned = plain * F32(2.0**-140), plain.copy()
            poisoned[2, 3] = np.nan
            for x in (plain, matrix(rows, cols, finite=True), tiny, plain * F32(1e36), plain * F32(0), poisoned):
                check_blocks("nvfp4", x, block, (), lambda x: nvfp4(x, block))


def gguf_reference(kind, x):
    """Bytes and values of a tensor in a GGUF block type, by the gguf package, or by its C reference restated."""
    types = gguf.GGMLQuantizationType
    if kind in ("q4_0", "q8_0", "tq1_0", "tq2_0", "mxfp4"):
        data = gguf.quants.quantize(x, types[kind.upper()])
        return data, gguf.quants.dequantize(data, types[kind.upper()])
    if kind == "nvfp4":
        reference = gguf.quants.NVFP4
        sub = x.reshape(-1, 16)
        scale = reference.fp32_to_ue4m3(np.abs(sub).max(1) / F32(6))
        d = reference.ue4m3_to_fp32(scale).astype(F32)
        levels = np.array(reference.kvalues, F32)
        code = np.abs(d[:, None, None] * levels - sub[:, :, None]).argmin(2).astype(np.uint8)
        packed = code[:, :8] | code[:, 8:] << 4
        data = np.concatenate([scale.reshape(-1, 4), packed.reshape(-1, 32)], axis=1).astype(np.uint8)
        return data, gguf.quants.dequantize(data, types.NVFP4)
    if kind == "i2_s":
        flat = x.ravel()
        code = np.where(np.abs(flat) < 1e-6, 1, np.where(flat > 0, 2, 0)).astype(np.uint8).reshape(-1, 4, 32)
        data = (code << np.array([6, 4, 2, 0], np.uint8)[None, :, None]).sum(1).astype(np.uint8)
        scale = np.abs(flat).max()
        return np.frombuffer(data.tobytes() + scale.tobytes() + bytes(28), np.uint8), (code.astype(F32) - 1).ravel() * scale
    size = {"q1_0": 128, "q2_0": 64}[kind]
    block = x.reshape(-1, size)
    if kind == "q1_0":
        total = np.zeros(len(block), F32)
        for column in np.abs(block).T:
            total += column
        scale = total / F32(128)
        bits = (block >= 0).astype(np.uint8)
        packed = np.packbits(bits, axis=1, bitorder="little")
        sign = np.where(bits == 1, F32(1), F32(-1))
    else:
        scale = np.abs(block).max(1)
        inverse = np.where(scale > 0, F32(1) / scale, F32(0))
        ratio = block * inverse[:, None]
        whole = np.where(np.isfinite(ratio), np.sign(ratio) * np.floor(np.abs(ratio) + 0.5), 0)
        code = np.clip(whole + 1, 0, 3).astype(np.uint8)
        packed = (code.reshape(len(block), -1, 4) << np.array([0, 2, 4, 6], np.uint8)).sum(2).astype(np.uint8)
        sign = code.astype(F32) - 1
    half = scale.astype(np.float16)
    return np.concatenate([half.view(np.uint8).reshape(-1, 2), packed], axis=1), sign * half.astype(F32)[:, None]


def check_gguf():
    for kind in ("q4_0", "q8_0", "tq1_0", "tq2_0", "mxfp4", "nvfp4", "i2_s", "q1_0", "q2_0"):
        name = f"gguf-{kind}"
        x = matrix(max(VALUES // 700, 30), 256, finite=True)
        x = np.concatenate([x, RNG.standard_normal((20, 256)).astype(F32) / 30])
        x[np.abs(x) > 60000] /= F32(2.0**90)
        if kind == "q4_0":
            # Of a block of zeros the package takes the sign of the first one, ggml's C (and this program) none.
            blocks = x.reshape(-1, 32)
            blocks[(blocks == 0).all(1)] = 0
        data, values = gguf_reference(kind, x)
        got = preon("encode", name, data=x)
        compare("gguf", f"{name} bytes", got, data)
        for verb, source in (("decode", data), ("round", x)):
            wanted, back = same_values(preon(verb, name, data=source, dtype=F32), values.ravel())
            compare("gguf", f"{name} {verb}", back, wanted)
        if kind not in ("i2_s", "q1_0", "q2_0"):
            number = gguf.GGMLQuantizationType[kind.upper()]
            raw = RNG.integers(0, 256, (data.size // gguf.GGML_QUANT_SIZES[number][1], gguf.GGML_QUANT_SIZES[number][1]))
            wanted = gguf.quants.dequantize(raw.astype(np.uint8), number)
            wanted, back = same_values(preon("decode", name, data=raw.astype(np.uint8), dtype=F32), wanted.ravel())
            compare("gguf", f"{name} raw bytes", back, wanted)


def check_colours():
    """Greedy sign planes a row, sums in the order of the elements."""
    for planes in (2, 3, 4):
        name, x = f"colour{planes}", matrix(29, 75)
        codes, values, scales = np.zeros(x.shape, np.uint8), np.zeros(x.shape, F32), []
        for row in range(len(x)):
            if not np.isfinite(x[row]).all():
                values[row] = np.nan
                scales += [F32(np.nan)] * planes
                continue
            rest = x[row].astype(np.float64)
            for plane in range(planes):
                scale = F32(np.cumsum(np.abs(rest))[-1] / rest.size)
                sign = np.where(rest < 0, -1.0, 1.0)
                codes[row] |= (rest < 0).astype(np.uint8) << plane
                rest -= sign * np.float64(scale)
                term = (sign * scale).astype(F32)
                values[row] = term if plane == 0 else values[row] + term
                scales.append(scale)
        file, shape = SCRATCH / "scales", ("--cols", x.shape[1])
        got = preon("encode", name, *shape, "--scales", file, data=x)
        compare("colours", f"{name} codes", got, codes, x)
        wanted, back = same_values(np.fromfile(file, F32), np.array(scales, F32))
        compare("colours", f"{name} scales", back, wanted)
        for verb in (("round", name, *shape), ("decode", name, *shape, "--scales", file)):
            wanted, back = same_values(preon(*verb, data=x if verb[0] == "round" else got, dtype=F32), values.ravel())
            compare("colours", f"{name} {verb[0]}", back, wanted)


CHECKS = [check_casts, check_plain, check_modes, check_draws, check_codebooks, check_mx, check_nvfp4, check_colours, check_gguf]


def main():
    for check in CHECKS:
        check()
    for family, (count, wrong) in totals.items():
        print(f"{family:<12} {count:>10} compared, {wrong} mismatches")
    sys.exit(any(wrong for _, wrong in totals.values()))


if __name__ == "__main__":
    main()

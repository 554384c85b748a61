#!/usr/bin/env python3
"""Fits the coefficients of exp, log, tanh and erf (docs/numerics.md, section 7). Needs numpy, scipy and
mpmath.

    python3 tests/scripts/fit_functions.py             # fits, prints src/num/coefficients.rs
    python3 tests/scripts/fit_functions.py --check     # fits, compares with that file; exit code 1 if it differs

Each polynomial is fitted in two steps, both linear programs:
  1. the minimax polynomial of the relative error;
  2. rounds of: measure the error of the whole function as the contract evaluates it, every f32 rounding and fma in its
     place, over a sample; move the coefficients so that the largest measured error falls; round them to f32 one after
     the other, fitting the rest again after each. The best round is kept.
The sample is fixed, so two runs give the same table. The bounds in the documentation do not come from here: they are
measured over all inputs by tests/functions.rs.
"""

import math
import sys
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy.optimize import linprog

mp.mp.dps = 40
TABLE = Path(__file__).resolve().parents[2] / "src/num/coefficients.rs"

# ---- f32 arithmetic on f64 arrays that hold f32 values ----------------------------------------------------------


def fl(x):
    """Rounds to f32. One f64 operation on f32 operands and then this is one rounding (53 >= 2 * 24 + 2)."""
    return np.asarray(x, dtype=np.float64).astype(np.float32).astype(np.float64)


def fma(a, b, c):
    """fl(a * b + c): the product is exact in f64, the sum is rounded to odd, so the last step rounds once."""
    product = np.asarray(a * b, dtype=np.float64)
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    return fl(np.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64))


def horner(x, coefficients):
    """Highest power first."""
    p = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        p = fma(p, x, c)
    return p


def ulp(x):
    """Unit of the last place of the f32 at x."""
    return np.exp2(np.maximum(np.floor(np.log2(np.abs(x))), -126) - 23)


# ---- the functions, as the contract evaluates them --------------------------------------------------------------

LOG2_E = float(np.float32(1 / math.log(2)))
LN_2 = float(np.float32(math.log(2)))
LN_2_HIGH = math.floor(math.log(2) * 2**16) / 2**16  # 16 bits: its product with an integer of 8 bits is exact
LN_2_LOW = float(np.float32(mp.log(2) - mp.mpf(LN_2_HIGH)))
SHIFTER = 1.5 * 2**23
SQRT_HALF = float(np.float32(math.sqrt(0.5)))
EXP_LOWEST, EXP_HIGHEST = float(np.float32(-87.3365402)), float(np.float32(88.7228317))
TANH_SPLIT, ERF_SPLIT = 0.703125, 0.890625


def exp(x, c):
    j = fl(fma(x, LOG2_E, SHIFTER) - SHIFTER)
    r = fma(j, -LN_2_LOW, fma(j, -LN_2_HIGH, x))
    return horner(r, [*c, 1.0, 1.0]) * np.exp2(j)


def log_parts(x):
    bits = x.astype(np.float32).view(np.int32)
    e = (bits - 0x3F2AAAAB) & ~0x7FFFFF
    return e, (bits - e).view(np.float32).astype(np.float64) - 1


def log(x, c):
    e, m = log_parts(x)
    s = fl(m * m)
    r, t = fma(c[0], s, c[2]), fma(c[1], s, c[3])
    r, t = fma(r, s, c[4]), fma(t, s, c[5])
    r = fma(t, m, fma(r, s, c[6]))
    r = fma(fma(r, m, c[7]), m, -0.5)
    return fma(e / 2**23, LN_2, fma(r, s, m))


def tanh(x, c):
    z = fl(x * x)
    return fma(fl(horner(z, c) * z), x, x)


def erf_low(x, c):
    return fma(horner(fl(x * x), c), x, x)


def erf_high(x, c):
    s = fl(x * x)
    r = fma(fma(c[0], x, c[1]), s, fma(c[2], x, c[3]))
    for coefficient in [*c[4:], -1.0]:
        r = fma(r, x, coefficient) if coefficient != -1.0 else fma(r, x, -x)
    return fl(1 - exp(r, FITTED["EXP"]))


# ---- fitting ----------------------------------------------------------------------------------------------------


def least_maximum(columns, error):
    """The steps d that minimise the largest |error + columns d|, and that maximum: a linear program."""
    scale = np.max(np.abs(columns), axis=0)
    columns, ones = columns / scale, np.ones((len(error), 1))
    system, right = np.block([[columns, -ones], [-columns, -ones]]), np.concatenate([-error, error])
    solution = linprog([*[0] * len(scale), 1], A_ub=system, b_ub=right, bounds=[(None, None)] * (len(scale) + 1))
    return solution.x[:-1] / scale, solution.fun


def round_in_turn(columns, error, c):
    """Moves the coefficients c for the least largest |error|, to f32: the last column is rounded first, and the rest
    solved again, so that the other coefficients absorb its rounding."""
    c = list(c)
    for count in range(len(c), 0, -1):
        step, _ = least_maximum(columns[:, :count], error)
        rounded = float(np.float32(c[count - 1] + step[-1]))
        error = error + columns[:, count - 1] * (rounded - c[count - 1])
        c[count - 1] = rounded
    return c


def minimax(name, target, weight, powers, low, high, points=300):
    """c_p with the least maximal |weight * (target - sum c_p x^p)|, in f64; solved twice: the second time for the
    correction of the first, whose error is computed in 40 digits and scaled up."""
    middle, radius = (low + high) / 2, (high - low) / 2
    grid = [middle - radius * mp.cos(mp.pi * (i + mp.mpf(1) / 2) / points) for i in range(points)]
    weights, values = [abs(weight(x)) for x in grid], [target(x) for x in grid]
    columns = np.array([[float(w * x**p) for p in powers] for w, x in zip(weights, grid)])
    c = [mp.mpf(0)] * len(powers)
    for scale in (1, 2**24):
        error = [w * (mp.fsum(k * x**p for k, p in zip(c, powers)) - v) for w, v, x in zip(weights, values, grid)]
        step, largest = least_maximum(columns, np.array([float(e * scale) for e in error]))
        c = [k + mp.mpf(float(s)) / scale for k, s in zip(c, step)]
    print(f"{name}: minimax error 2^{math.log2(largest / scale):.2f}", file=sys.stderr)
    return [float(k) for k in c]


ROUNDS = 24
HARDEST = 3_000


def refine(evaluate, slope, c, x, wanted):
    """Coefficients for the least error of the function as it is evaluated, and that error.

    Each round measures the error of every input in units of the last place, takes the hardest inputs of all rounds so
    far, and moves the coefficients to where these would err least if roundings stayed as they are.
    """
    unit = ulp(wanted)
    best, hard = (math.inf, c), np.arange(0, len(x), len(x) // 1000)
    for _ in range(ROUNDS):
        error = (evaluate(x, [float(np.float32(k)) for k in c]) - wanted) / unit
        size = np.abs(error)
        best = min(best, (float(np.max(size)), c), key=lambda found: found[0])
        hard = np.union1d(hard, np.argsort(size)[-HARDEST:])
        hard = hard[np.argsort(size[hard])[-4 * HARDEST :]]
        c = round_in_turn(slope(x[hard]) / unit[hard, None], error[hard], [float(np.float32(k)) for k in c])
    return best


def sample(low, high, count):
    """`count` f32 between low and high: half uniform in value, half uniform in the bits."""
    random = np.random.default_rng(20240501)
    bits = np.array([low, high], np.float32).view(np.int32) if low > 0 else None
    values = random.uniform(low, high, count)
    if bits is not None:
        values[::2] = random.integers(bits[0], bits[1], len(values[::2]), dtype=np.int32).view(np.float32)
    return fl(values)


FITTED = {}
ERF = np.vectorize(math.erf)


def fit(name, evaluate, slope, exact, start, x):
    error, c = refine(evaluate, slope, start, x, exact(x))
    print(f"{name}: {error:.4f} ulp over {len(x)} inputs", file=sys.stderr)
    FITTED[name] = c


def powers_of(x, powers, factor=1):
    return np.stack([factor * x**p for p in powers], axis=1)


def fit_all():
    half, third, tiny = mp.log(2) / 2, mp.mpf(1) / 3, mp.mpf(10) ** -9

    powers = [6, 5, 4, 3, 2]
    start = minimax("EXP", lambda r: mp.expm1(r) - r, lambda r: mp.exp(-r), powers, -half, half)
    x = np.concatenate([sample(-87, 88, 600_000), sample(-1, 1, 600_000)])
    j = lambda x: np.rint(x * LOG2_E)  # noqa: E731
    fit("EXP", exp, lambda x: powers_of(x - j(x) * math.log(2), powers, np.exp2(j(x))), np.exp, start, x)

    powers = [10, 9, 8, 7, 6, 5, 4, 3]
    target = lambda m: mp.log1p(m) - m + m * m / 2  # noqa: E731
    start = minimax("LOG", target, lambda m: 1 / mp.log1p(m), powers, -third, third)
    x = np.concatenate([sample(2 / 3, 4 / 3, 400_000), sample(4 / 3, 3, 600_000), sample(0.05, 20, 200_000)])
    fit("LOG", log, lambda x: powers_of(log_parts(x)[1], powers), np.log, start, x[x != 1])

    # tanh(x) = x + x z p(z), z = x^2.
    powers = [4, 3, 2, 1, 0]
    target = lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z  # noqa: E731
    weight = lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z))  # noqa: E731
    start = minimax("TANH", target, weight, powers, tiny, mp.mpf(TANH_SPLIT) ** 2)
    x = sample(1e-4, TANH_SPLIT, 800_000)
    fit("TANH", tanh, lambda x: powers_of(x * x, powers, x**3), np.tanh, start, x)

    # erf(x) = x + x q(s), s = x^2.
    powers = [5, 4, 3, 2, 1, 0]
    target = lambda s: mp.erf(mp.sqrt(s)) / mp.sqrt(s) - 1  # noqa: E731
    weight = lambda s: mp.sqrt(s) / mp.erf(mp.sqrt(s))  # noqa: E731
    start = minimax("ERF_LOW", target, weight, powers, tiny, mp.mpf(ERF_SPLIT) ** 2)
    fit("ERF_LOW", erf_low, lambda x: powers_of(x * x, powers, x), ERF, start, sample(1e-4, ERF_SPLIT, 800_000))

    # erf(t) = 1 - exp(-t + t g(t)).
    powers = [7, 6, 5, 4, 3, 2, 1]
    target = lambda t: mp.log(mp.erfc(t)) + t  # noqa: E731
    weight = lambda t: mp.erfc(t) / mp.erf(t)  # noqa: E731
    start = minimax("ERF_HIGH", target, weight, powers, mp.mpf(ERF_SPLIT), mp.mpf(4))
    slope = lambda t: powers_of(t, powers, ERF(t) - 1)  # noqa: E731
    fit("ERF_HIGH", erf_high, slope, ERF, start, sample(ERF_SPLIT, 4, 800_000))


# ---- the table --------------------------------------------------------------------------------------------------

DOCS = {
    "EXP": "(e^r - 1 - r) / r^2 for |r| <= ln(2)/2, highest power first.",
    "LOG": "log(1 + m) = m - m^2/2 + .. for |m| <= 1/3: the powers 10 to 3 of m.",
    "TANH": "(tanh(x)/x - 1) / z in z = x^2 for |x| < 0.703125, highest power first.",
    "ERF_LOW": "erf(x)/x - 1 in x^2 for |x| < 0.890625, highest power first.",
    "ERF_HIGH": "log(1 - erf(t)) + t for 0.890625 <= t <= 4: the powers 7 to 1 of t.",
}


def hex_float(value):
    """As C and docs/numerics.md write it, without zeros at the end."""
    mantissa, exponent = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}"


CONSTANTS = {
    "LOG2_E": ("1 / ln 2.", LOG2_E),
    "LN_2": ("ln 2.", LN_2),
    "LN_2_HIGH": ("ln 2 cut to 16 bits: its product with an integer of 8 bits is exact.", LN_2_HIGH),
    "LN_2_LOW": ("The rest of ln 2.", LN_2_LOW),
    "SHIFTER": ("1.5 * 2^23: adding it and taking it away rounds to an integer.", SHIFTER),
    "SQRT_HALF": ("Square root of 1/2.", SQRT_HALF),
    "EXP_LOWEST": ("Below it exp is 0.", EXP_LOWEST),
    "EXP_HIGHEST": ("Above it exp is infinite.", EXP_HIGHEST),
    "TANH_SPLIT": ("Below it tanh is a polynomial.", TANH_SPLIT),
    "ERF_SPLIT": ("Below it erf is a polynomial.", ERF_SPLIT),
}


def literal(value):
    bits = int(np.array(value, np.float32).view(np.uint32))
    return f"f32::from_bits(0x{bits >> 16:04x}_{bits & 0xFFFF:04x})"


def table():
    lines = [
        "//! Constants and coefficients of the functions of the numerics contract, section 7. Written by",
        "//! tests/scripts/fit_functions.py, which fits them; do not edit by hand.",
        "",
    ]
    for name, (doc, value) in CONSTANTS.items():
        lines += [f"/// {doc}", f"pub(crate) const {name}: f32 = {literal(value)}; // {hex_float(value)}"]
    for name, values in FITTED.items():
        lines += ["", f"/// {DOCS[name]}", f"pub(crate) const {name}: [f32; {len(values)}] = ["]
        for value in values:
            lines.append(f"    {literal(value)}, // {hex_float(value)}")
        lines.append("];")
    return "\n".join(lines) + "\n"


def main():
    fit_all()
    if "--check" not in sys.argv[1:]:
        print(table(), end="")
    elif table() != TABLE.read_text():
        sys.exit(f"the fit and {TABLE} differ")


if __name__ == "__main__":
    main()

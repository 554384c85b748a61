#!/usr/bin/env python3
"""Timing a network takes milliseconds: user CPU seconds and peak memory of `preon` beside the goals of docs/performance.md.

    time_limits.py PREON

Each command runs alone three times and the fastest counts, as user time of the process alone. A command fails at three
times what that page measured, because computers differ; memory fails at the goal itself. Goals of time are only shown: that
page says which are missed.
"""

import os
import subprocess
import sys

GEMM = ["gemm", "--m", "512", "--n", "2560", "--k", "2560", "--timing-only", "-m", "hbm"]
BITNET = ["workload", "bitnet-2b", "--prefill", "512", "--decode", "128", "-p", "w1.58a8", "-m", "hbm"]
MEGABYTES = 64

# What, goal and measured milliseconds of user time, command.
CASES = [
    ("GEMM 512x2560x2560 int8, bursts of 64 B", 20, 13, ["workload", "gemm-a", "-p", "int8", "-m", "hbm"]),
    # The setting of the peer's own run: requests of 32 bytes to 16 channels of HBM2.
    ("GEMM 512x2560x2560 fp16, bursts of 32 B", 20, 14, ["workload", "gemm-a", "-p", "fp16", "-m", "onnxim-like"]),
    ("gemm --timing-only int8", 20, 15, [*GEMM, "-p", "int8"]),
    ("gemm --timing-only fp16", 20, 19, [*GEMM, "-p", "fp16"]),
    ("ResNet-50 int8", 50, 40, ["workload", "resnet50", "-p", "int8", "-m", "hbm"]),
    ("BERT-base, 128 tokens, int8", 50, 31, ["workload", "bert-base", "--seq", "128", "-p", "int8", "-m", "hbm"]),
    ("BitNet-2B, 512 + 128 tokens", 2000, 970, BITNET),
]


def run(command):
    """User seconds and peak resident megabytes of one run."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    scale = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return usage.ru_utime, usage.ru_maxrss / scale


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: time_limits.py PREON")
    failed = False
    for what, goal, measured, command in CASES:
        runs = [run([sys.argv[1], *command]) for _ in range(3)]
        milliseconds, megabytes = 1e3 * min(r[0] for r in runs), max(r[1] for r in runs)
        wrong = milliseconds > 3 * measured or megabytes > MEGABYTES
        failed |= wrong
        print(f"{'FAIL' if wrong else 'ok':<5}{what:<42}{milliseconds:8.0f} ms, limit {3 * measured:5}, goal {goal:5}"
              f"{megabytes:7.0f} MB, goal {MEGABYTES}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

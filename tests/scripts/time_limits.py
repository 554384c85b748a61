#!/usr/bin/env python3
"""Timing a network takes milliseconds: user CPU seconds and peak memory of `preon` against the goals of docs/performance.md.

    time_limits.py PREON [--factor F]

Each command runs alone three times and the fastest counts, as user time of the process alone. A command fails at F times
its goal (3 unless given: computers differ, and this one may have other work to do); memory fails at the goal itself.
"""

import os
import subprocess
import sys

HBM = ["-m", "hbm", "--set", "dram.model=cycle"]
# The setting of the peer's own run: requests of 32 bytes to 16 channels of HBM2.
HBM_32 = ["-m", "onnxim-like", "--set", "dram.model=cycle"]
GEMM = ["gemm", "--m", "512", "--n", "2560", "--k", "2560", "--timing-only", "-m", "hbm"]
MEGABYTES = 64

# What, goal in seconds of user time, command.
CASES = [
    ("GEMM 512x2560x2560 int8, bursts of 64 B", 0.020, ["workload", "gemm-a", "-p", "int8", *HBM]),
    ("GEMM 512x2560x2560 fp16, bursts of 32 B", 0.020, ["workload", "gemm-a", "-p", "fp16", *HBM_32]),
    ("gemm --timing-only int8", 0.020, [*GEMM, "-p", "int8"]),
    ("gemm --timing-only fp16", 0.020, [*GEMM, "-p", "fp16"]),
    ("ResNet-50 int8", 0.050, ["workload", "resnet50", "-p", "int8", *HBM]),
    ("BERT-base, 128 tokens, int8", 0.050, ["workload", "bert-base", "--seq", "128", "-p", "int8", *HBM]),
    ("BitNet-2B, 512 + 128 tokens", 2.0,
     ["workload", "bitnet-2b", "--prefill", "512", "--decode", "128", "-p", "w1.58a8", *HBM]),
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
    arguments = sys.argv[1:]
    factor = 3.0
    if "--factor" in arguments:
        at = arguments.index("--factor")
        factor = float(arguments[at + 1])
        del arguments[at:at + 2]
    if len(arguments) != 1:
        sys.exit("usage: time_limits.py PREON [--factor F]")
    preon = arguments[0]
    failed = False
    for what, goal, command in CASES:
        runs = [run([preon, *command]) for _ in range(3)]
        seconds, megabytes = min(r[0] for r in runs), max(r[1] for r in runs)
        wrong = seconds > factor * goal or megabytes > MEGABYTES
        failed |= wrong
        print(f"{'FAIL' if wrong else 'ok':<5}{what:<42}{1e3 * seconds:8.0f} ms, goal {1e3 * goal:5.0f}"
              f"{megabytes:7.0f} MB, goal {MEGABYTES}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

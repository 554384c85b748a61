#!/usr/bin/env python3
"""Mutation harness: seeded one-line faults must be caught by `preon check` or by the tests of their area.

    python3 tests/mutation/run.py                      # all mutants of mutants.toml
    python3 tests/mutation/run.py --sample 7 20        # a fifth of them, chosen by seed 7
    python3 tests/mutation/run.py --only exec-eight-partials native-eight-lanes
    python3 tests/mutation/run.py --validate           # only: every `from` occurs exactly once

The repository is copied to a temporary folder; the build folder is kept apart (--target) and shared by all mutants.
Exit code: 0 if enough faults were caught (28 of 30, or that fraction), 1 if not, 2 if the harness itself failed.
Standard library only, Python 3.11 or newer.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
NEEDED = 28 / 30
POLICIES = "fp32,bf16,fp8,fp4,int8,int4,w1.58a8,w1a8,w1a1"
# (what, arguments of `preon check`, environment). The second pass forces the scalar native kernels.
CHECKS = [
    ("check mlp", ["builtin:mlp", "-m", "edge,hbm", "-p", POLICIES], {}),
    ("check bitnet-tiny", ["builtin:bitnet-tiny", "-m", "edge,hbm", "-p", POLICIES], {}),
    ("check bitnet-tiny --no-fuse", ["builtin:bitnet-tiny", "-m", "edge,hbm", "-p", POLICIES, "--no-fuse"], {}),
    ("check bitnet-tiny scalar", ["builtin:bitnet-tiny", "-m", "edge", "-p", POLICIES], {"PREON_ISA": "scalar"}),
]
TESTS = {
    "exec": [["--lib", "exec::"], ["--test", "conformance"]],
    "native": [["--lib", "native::"], ["--test", "native"], ["--test", "conformance"]],
    "compile": [["--lib", "compile::"], ["--test", "conformance"]],
}
BUILD_SECONDS, RUN_SECONDS = 1800, 600


def load():
    with open(Path(__file__).with_name("mutants.toml"), "rb") as file:
        mutants = tomllib.load(file)["mutant"]
    names = [mutant["name"] for mutant in mutants]
    assert len(set(names)) == len(names), "names of mutants must differ"
    return mutants


def validate(mutants):
    """Names the mutants whose `from` does not occur exactly once in their file."""
    wrong = []
    for mutant in mutants:
        path = REPO / mutant["file"]
        count = path.read_text().count(mutant["from"]) if path.is_file() else 0
        if count != 1 or mutant["from"] == mutant["to"]:
            wrong.append(f"{mutant['name']}: `from` occurs {count} times in {mutant['file']}")
    return wrong


class Bench:
    """A copy of the repository in which one mutant at a time is applied."""

    def __init__(self, target):
        self.root = Path(tempfile.mkdtemp(prefix="preon-mutation-"))
        self.source = self.root / "preon"
        skip = shutil.ignore_patterns("target", ".git", "__pycache__")
        shutil.copytree(REPO, self.source, ignore=skip)
        self.target = target or self.root / "target"

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, command, seconds, environment=None):
        """(exit code, output); a run that does not end has exit code -1."""
        env = {**os.environ, "CARGO_TARGET_DIR": str(self.target), "NO_COLOR": "1", "CARGO_PROFILE_DEV_DEBUG": "0", **(environment or {})}
        try:
            done = subprocess.run(
                command, cwd=self.source, env=env, timeout=seconds, text=True, errors="replace",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )
            return done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            partial = error.stdout or b""
            return -1, (partial.decode(errors="replace") if isinstance(partial, bytes) else partial) + "\n(timed out)"

    def build(self):
        return self.run(["cargo", "build", "--quiet", "--bin", "preon"], BUILD_SECONDS)

    def check(self, arguments, environment):
        return self.run([str(self.target / "debug" / "preon"), "check", *arguments], RUN_SECONDS, environment)

    def test(self, arguments):
        return self.run(["cargo", "test", "--quiet", *arguments], BUILD_SECONDS)


def named_nodes(output):
    return re.findall(r"node `([^`]+)`", output)


def by_checks(bench):
    """What the cross-check says of the tree in the bench: (what failed, nodes named, detail), or None."""
    code, output = bench.build()
    if code != 0:
        return "compiler", [], output[-400:]
    for what, arguments, environment in CHECKS:
        code, output = bench.check(arguments, environment)
        if code != 0:
            lines = [line.strip() for line in output.splitlines() if "node `" in line] or output.splitlines()[-3:]
            return what, named_nodes(output)[:3], "\n".join(lines[:2])
    return None


def by_tests(bench, area):
    """The same for the tests of an area."""
    for arguments in TESTS[area]:
        code, output = bench.test(arguments)
        if code != 0:
            failed = re.findall(r"^test (\S+) .*FAILED|^---- (\S+) stdout|^(error.*)", output, re.MULTILINE)
            names = sorted({a or b or c for a, b, c in failed})
            return "cargo test " + " ".join(arguments), [], ", ".join(names[:4])
    return None


class Baseline(Exception):
    """The tree without any fault does not pass: a catch would mean nothing."""


def unmodified(found):
    if found is not None:
        raise Baseline(f"{found[0]} fails without any fault:\n{found[2]}")


def hunt(bench, mutants, judge):
    """Applies each mutant in turn, reports what `judge` finds, returns results by name."""
    results = {}
    for mutant in mutants:
        path = bench.source / mutant["file"]
        original = path.read_text()
        path.write_text(original.replace(mutant["from"], mutant["to"]))
        start = time.monotonic()
        try:
            found = judge(mutant)
        finally:
            path.write_text(original)
        by, nodes, detail = found or ("", [], "")
        results[mutant["name"]] = {"area": mutant["area"], "caught": bool(found), "by": by, "nodes": nodes, "detail": detail}
        word = "caught  " if found else "survived"
        node = f", node {nodes[0]}" if nodes else ""
        print(f"{word} {mutant['name']:34} {by}{node} ({time.monotonic() - start:.0f} s)", flush=True)
        if detail:
            print("         " + detail.replace("\n", "\n         "), flush=True)
    return results


def examine(bench, mutants, tests_only):
    """Everything through the cross-check; what survives, through the tests of its area."""
    results = {}
    if not tests_only:
        unmodified(by_checks(bench))
        results = hunt(bench, mutants, lambda mutant: by_checks(bench))
    survivors = [mutant for mutant in mutants if not results.get(mutant["name"], {}).get("caught")]
    for area in sorted({mutant["area"] for mutant in survivors}):
        unmodified(by_tests(bench, area))
        rest = [mutant for mutant in survivors if mutant["area"] == area]
        results.update(hunt(bench, rest, lambda mutant: by_tests(bench, area)))
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", nargs=2, metavar=("SEED", "PERCENT"), type=int, help="a fixed-seed fraction")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants, or all of an area")
    parser.add_argument("--target", type=Path, help="build folder to use and keep (it speeds up the next run)")
    parser.add_argument("--out", type=Path, help="write the results as JSON")
    parser.add_argument("--validate", action="store_true", help="check mutants.toml against the sources and stop")
    parser.add_argument("--tests-only", action="store_true", help="skip `preon check`: judge by the tests alone")
    return parser.parse_args()


def chosen(mutants, options):
    if options.only:
        unknown = set(options.only) - {m["name"] for m in mutants} - {m["area"] for m in mutants}
        if unknown:
            sys.exit(f"no such mutant: {', '.join(sorted(unknown))}")
        mutants = [m for m in mutants if m["name"] in options.only or m["area"] in options.only]
    if options.sample:
        seed, percent = options.sample
        count = max(1, round(len(mutants) * percent / 100))
        names = {m["name"] for m in random.Random(seed).sample(mutants, min(count, len(mutants)))}
        mutants = [m for m in mutants if m["name"] in names]
    return mutants


def main():
    options = arguments()
    mutants = load()
    wrong = validate(mutants)
    if wrong:
        print("\n".join(wrong))
        return 2
    mutants = chosen(mutants, options)
    if options.validate:
        print(f"{len(mutants)} mutants, every `from` is unique")
        return 0
    bench = Bench(options.target and options.target.resolve())
    try:
        results = examine(bench, mutants, options.tests_only)
    except Baseline as problem:
        print(problem)
        return 2
    finally:
        bench.close()
    caught = sum(result["caught"] for result in results.values())
    named = sum(bool(result["nodes"]) for result in results.values())
    print(f"{caught} of {len(results)} caught, {named} with the node named")
    if options.out:
        options.out.write_text(json.dumps({"schema": "preon.mutation/1", "results": results}, indent=1) + "\n")
    return 0 if caught >= NEEDED * len(results) - 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Checks a trace of Preon against the books of the same run, without linking Preon. Standard library only.

    preon exec FILE -m MACHINE --trace T.json.gz -f json > books.json
    python3 verify_trace.py T.json.gz books.json

`preon run` and `preon gemm` work as well as `preon exec`. A second argument may be left out: the trace is then held
against the totals that stand in it.

  alone        no two slices overlap on one track
  order        nobody starts before those have ended whose results it uses: every entry of `needs`, by its kind
  cycles       the last cycle of all units is the run's
  units        busy cycles, cycles stalled by each cause, idle cycles and instructions of every unit
  bytes        read and written at every memory level

The rules are those of docs/traces.md. A windowed trace holds a part of the run only: `alone` and `order` are checked as
far as it goes, the sums are not.
"""

import gzip
import json
import sys

UNITS = ["control", "load-store", "vector-mac", "elementwise", "array", "dma"]
LEVELS = ["dram", "sram", "shared-sram", "control-memory"]


def load(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        return json.load(file)


class Op:
    """One instruction: the slice of its issue and that of its unit, which are one for control."""

    def __init__(self, core, seq):
        self.core, self.seq = core, seq
        self.issue_slice = self.slice = None

    @property
    def args(self):
        return self.slice["args"]

    @property
    def unit(self):
        return self.slice["cat"]

    @property
    def start(self):
        return self.slice["ts"]

    @property
    def end(self):
        return self.slice["ts"] + self.slice["dur"]

    @property
    def busy_until(self):
        """DMA is busy until the bytes are there, the other units until they can take the next instruction."""
        return self.args["ready"] if self.unit == "dma" else self.end

    @property
    def stored(self):
        """The cycle from which on the bytes that it writes can be read."""
        return self.busy_until


class Verifier:
    def __init__(self, trace):
        self.faults, self.checks = [], 0
        self.other = trace["otherData"]
        self.events = trace["traceEvents"]
        self.expect(self.other["schema"] == "preon.trace/1", f"schema {self.other['schema']}")
        self.tracks, self.ops = {}, {}
        for event in self.events:
            if event["ph"] == "X":
                self.slice(event)

    def expect(self, ok, text):
        self.checks += 1
        if not ok:
            self.faults.append(text)

    def slice(self, event):
        self.tracks.setdefault((event["pid"], event["tid"]), []).append(event)
        seq = event["args"]["seq"]
        op = self.ops.setdefault(seq, Op(event["pid"], seq))
        if event["cat"] in ("issue", "control"):
            op.issue_slice = event
        if event["cat"] != "issue":
            op.slice = event

    def alone(self):
        for track, slices in self.tracks.items():
            slices.sort(key=lambda event: (event["ts"], event["dur"]))
            for one, two in zip(slices, slices[1:]):
                ok = one["ts"] + one["dur"] <= two["ts"]
                self.expect(ok, f"track {track}: {one['args']['seq']} and {two['args']['seq']} overlap at {two['ts']}")

    def order(self):
        for op in self.ops.values():
            if op.slice is None:
                continue
            for seq, kind, what in op.args.get("needs", []):
                made = self.ops.get(seq)
                if made is None or made.slice is None:
                    continue
                at, until = {
                    "scalar": lambda: (op.args["issue"], made.args["scalars"]),
                    "register": lambda: (op.start, made.args["ready"]),
                    "sum": lambda: (op.start, made.end),
                    "memory": lambda: (op.start, made.stored),
                    "channel": lambda: (op.args["ready"], made.args["ready"]),
                }[kind]()
                self.expect(at >= until, f"{op.seq} uses {what} of {seq} at {at}, which is there at {until} ({kind})")

    def units(self):
        """Cycles of each unit of each core: {core: {unit: (busy, {cause: stalled}, instructions)}}, and the last cycle."""
        cursors, busy, stalls, counts, last = {}, {}, {}, {}, 0

        def explain(key, wait, start, end):
            cursor = cursors.get(key, 0)
            if wait is not None:
                stalled = max(0, wait["until"] - max(wait["from"], cursor))
                causes = stalls.setdefault(key, {})
                causes[wait["cause"]] = causes.get(wait["cause"], 0) + stalled
            busy[key] = busy.get(key, 0) + max(0, end - max(start, cursor))
            cursors[key] = max(cursor, end)

        for seq in sorted(self.ops):
            op = self.ops[seq]
            self.expect(op.slice is not None and op.issue_slice is not None, f"{seq} has no slice of its own")
            issue = op.issue_slice
            explain((op.core, "control"), issue["args"].get("wait"), issue["ts"], issue["ts"] + issue["dur"])
            counts[op.core, op.unit] = counts.get((op.core, op.unit), 0) + 1
            last = max(last, issue["ts"] + issue["dur"])
            if op.unit != "control":
                explain((op.core, op.unit), op.args.get("wait"), op.start, op.busy_until)
                last = max(last, op.busy_until, op.args["ready"])
        cores = sorted({core for core, _ in cursors})
        of = lambda key: (busy.get(key, 0), {c: n for c, n in stalls.get(key, {}).items() if n}, counts.get(key, 0))
        return {core: {unit: of((core, unit)) for unit in UNITS} for core in cores}, last

    def bytes(self):
        sums = {level: [0, 0] for level in LEVELS}
        for op in self.ops.values():
            for way, name in enumerate(("read", "write")):
                for level, count in op.args.get(name, {}).items():
                    sums[level][way] += count
        return sums

    def sums(self, books):
        cores, last = self.units()
        self.expect(last == books["cycles"], f"{last} cycles, the books say {books['cycles']}")
        self.expect(len(self.ops) == books["instructions"], f"{len(self.ops)} instructions, not {books['instructions']}")
        booked = books["cores"] if "cores" in books else [books]
        self.expect(len(cores) == len(booked), f"{len(cores)} cores, not {len(booked)}")
        for units, book in zip(cores.values(), booked):
            self.expect([row["unit"] for row in book["units"]] == UNITS, "units have other names")
            for row in book["units"]:
                busy, stalls, count = units[row["unit"]]
                name = row["unit"]
                self.expect(busy == row["busy_cycles"], f"{name}: busy {busy}, the books say {row['busy_cycles']}")
                booked_stalls = {cause: cycles for cause, cycles in row["stall_cycles"].items() if cycles}
                self.expect(stalls == booked_stalls, f"{name}: stalled {stalls}, the books say {booked_stalls}")
                idle = last - busy - sum(stalls.values())
                self.expect(idle == row["idle_cycles"], f"{name}: idle {idle}, the books say {row['idle_cycles']}")
                if "instructions" in row:
                    self.expect(count == row["instructions"], f"{name}: {count} instructions, not {row['instructions']}")
        sums, book = self.bytes(), books["bytes"]
        if "dram_read" in book:
            sram = [sums["sram"][way] + sums["shared-sram"][way] for way in (0, 1)]
            found = [*sums["dram"], *sram]
            want = [book[key] for key in ("dram_read", "dram_write", "sram_read", "sram_write")]
            self.expect(found == want, f"bytes {found}, the books say {want}")
        else:
            for level in LEVELS:
                want = [book[level]["read"], book[level]["written"]]
                self.expect(sums[level] == want, f"{level}: {sums[level]} bytes, the books say {want}")

    def run(self, books):
        self.expect(bool(self.ops), "the trace has no slices")
        self.alone()
        self.order()
        if self.other["window"] is None:
            self.expect(len(self.ops) == self.other["records"], f"{len(self.ops)} of {self.other['records']} records")
            self.sums(books)
        for fault in self.faults[:40]:
            print("WRONG", fault)
        slices = sum(len(slices) for slices in self.tracks.values())
        print(f"{len(self.ops)} instructions, {slices} slices, {self.checks} assertions, {len(self.faults)} wrong")
        return 1 if self.faults else 0


def main(arguments):
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    trace = load(arguments[0])
    books = load(arguments[1]) if len(arguments) == 2 else trace["otherData"]["totals"]
    return Verifier(trace).run(books[0] if isinstance(books, list) else books)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

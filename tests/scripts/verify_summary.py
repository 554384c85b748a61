#!/usr/bin/env python3
"""Checks summary.json against closed forms, without linking Preon. Standard library only (Python 3.11).

    python3 verify_summary.py REPORT_FOLDER

For every run:
  weight bytes     each tensor is rows * ceil(columns * bits / 8) + 4 * scales, with bits and scales worked out here from
                   the format's name and the scaling; their sum is bytes.weights, by format bytes.by_format
  cycles           >= max(MACs / peak, DRAM bytes / bandwidth)
  energy           arithmetic = sum of count * price, with each price taken from the machine file beside the summary;
                   total = arithmetic + movement + leakage; components sum to the total
  conservation     units: busy + stalls + idle = cycles; layers: cycles sum to cycles, causes to each layer's
  check            bit-exact at every node, if it was asked for
"""

import json
import math
import sys
import tomllib
from pathlib import Path

BITS = {
    "fp32": 32, "fp16": 16, "bf16": 16, "fp8e4m3": 8, "fp8e5m2": 8, "fp4e2m1": 4, "int8": 8, "int4": 4, "int2": 2,
    "ternary": 2, "binary": 1, "triplet": 2,
}


def scales(tensor):
    """Number of f32 scales that the scaling of a tensor asks for."""
    match tensor["scaling"]:
        case "none":
            return 0
        case "tensor":
            return 1
        case "row":
            return tensor["rows"]
        case block if block.startswith("block"):
            return tensor["rows"] * math.ceil(tensor["columns"] / int(block.removeprefix("block")))
    raise ValueError(f"unknown scaling {tensor['scaling']}")


def close(a, b, tolerance=1e-9):
    return abs(a - b) <= tolerance * max(abs(a), abs(b), 1.0)


def price(machine, key):
    """Typical price in pJ of a dotted key such as `mac.int8*int8`, from a machine file."""
    group, name = key.removeprefix("energy.").split(".", 1)
    entry = machine["energy"][group][name]
    value = entry["pj"] if isinstance(entry, dict) else entry
    return value[1] if isinstance(value, list) and len(value) == 3 else value


class Verifier:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.faults = []
        self.checks = 0

    def expect(self, ok, text):
        self.checks += 1
        if not ok:
            self.faults.append(text)

    def machine(self, name):
        alone = self.folder / "machine.toml"
        path = alone if alone.exists() else self.folder / "machines" / f"{name}.toml"
        return tomllib.loads(path.read_text())

    def weights(self, run, name):
        by_format = {}
        for tensor in run["weights"]:
            label = f"{name}: {tensor['name']}"
            bits = BITS[tensor["format"]]
            self.expect(tensor["bits"] == bits, f"{label}: {tensor['bits']} bits, {tensor['format']} has {bits}")
            self.expect(tensor["scales"] == scales(tensor), f"{label}: {tensor['scales']} scales")
            want = tensor["rows"] * math.ceil(tensor["columns"] * bits / 8) + 4 * scales(tensor)
            want += tensor.get("mask_bytes", 0)
            self.expect(tensor["bytes"] == want, f"{label}: {tensor['bytes']} bytes, closed form {want}")
            by_format[tensor["format"]] = by_format.get(tensor["format"], 0) + want
        sizes = run["bytes"]
        self.expect(bool(run["weights"]), f"{name}: no weights listed")
        self.expect(sizes["by_format"] == by_format, f"{name}: bytes.by_format {sizes['by_format']}, not {by_format}")
        self.expect(sizes["weights"] == sum(by_format.values()), f"{name}: bytes.weights {sizes['weights']}")

    def time(self, run, name):
        peaks = run["peak"]
        compute = {}
        for pair in peaks["macs_per_cycle"]:
            compute[pair["unit"]] = compute.get(pair["unit"], 0) + pair["macs"] / pair["peak"]
        bytes_moved = run["bytes"]["dram_read"] + run["bytes"]["dram_write"]
        least = max(max(compute.values(), default=0), bytes_moved / peaks["dram_bytes_per_cycle"])
        self.expect(run["cycles"] >= math.floor(least), f"{name}: {run['cycles']} cycles, bound {least:.0f}")
        executed = sum(pair["macs"] for pair in peaks["macs_per_cycle"])
        self.expect(executed == run["macs"]["executed"], f"{name}: {executed} MACs under peaks, {run['macs']}")
        macs = run["macs"]
        self.expect(macs["dense"] == macs["executed"] + macs["skipped"], f"{name}: {macs}")
        self.expect(close(run["time_ns"], run["cycles"] / run["clock_hz"] * 1e9), f"{name}: time_ns")
        for unit in run["units"]:
            total = unit["busy_cycles"] + sum(unit["stall_cycles"].values()) + unit["idle_cycles"]
            self.expect(total == run["cycles"], f"{name}: unit {unit['unit']} has {total} of {run['cycles']} cycles")
        layers = sum(layer["cycles"] for layer in run["layers"])
        self.expect(layers == run["cycles"], f"{name}: layers have {layers} of {run['cycles']} cycles")
        for layer in run["layers"]:
            self.expect(sum(layer["cycles_by"].values()) == layer["cycles"], f"{name}: causes of {layer['name']}")

    def energy(self, run, name):
        machine, parts = self.machine(run["machine"]), run["energy_pj"]
        arithmetic = 0.0
        for op in run["ops"]:
            each = price(machine, op["key"])
            self.expect(close(op["pj_each"], each), f"{name}: {op['key']} at {op['pj_each']} pJ, the file says {each}")
            arithmetic += op["count"] * each
        self.expect(bool(run["ops"]), f"{name}: no operations listed")
        self.expect(close(parts["arithmetic"], arithmetic, 1e-6), f"{name}: {parts['arithmetic']} pJ, not {arithmetic}")
        total = parts["arithmetic"] + parts["movement"] + parts["leakage"]
        self.expect(close(parts["total"], total), f"{name}: total {parts['total']} pJ, parts {total}")
        components = sum(row["pj"] for row in run["energy_by_component"])
        self.expect(close(parts["total"], components, 1e-6), f"{name}: components {components} of {parts['total']} pJ")
        layers = sum(layer["energy_pj"]["total"] for layer in run["layers"])
        self.expect(layers <= parts["total"] * (1 + 1e-6), f"{name}: layers {layers} of {parts['total']} pJ")

    def check(self, run, name):
        check = run["check"]
        if check is not None:
            self.expect(check["bit_exact"] and check["nodes"] > 0 and check["mismatches"] == 0, f"{name}: {check}")

    def run(self):
        runs = json.loads((self.folder / "summary.json").read_text())
        runs = runs if isinstance(runs, list) else [runs]
        for run in runs:
            name = f"{run['model']} on {run['machine']} at {run['policy']}"
            self.expect(run["schema"] == "preon.run/1", f"{name}: schema {run['schema']}")
            for part in (self.weights, self.time, self.energy, self.check):
                part(run, name)
        for fault in self.faults[:40]:
            print("WRONG", fault)
        print(f"{len(runs)} runs, {self.checks} assertions, {len(self.faults)} wrong")
        return 1 if self.faults or not runs else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(Verifier(sys.argv[1]).run())

#!/usr/bin/env bash
# Rebuilds the books of 26 programs and workloads from their traces: tests/scripts/verify_traces.sh target/release/preon
set -euo pipefail
cd "$(dirname "$0")/../.."
preon=${1:-target/release/preon}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
count=0

verify() {
    "$preon" "$@" -f json --trace "$scratch/t.json.gz" > "$scratch/books.json"
    printf '%-72s ' "$*"
    python3 tests/scripts/verify_trace.py "$scratch/t.json.gz" "$scratch/books.json"
    count=$((count + 1))
}

machine=edge
for program in programs/examples/*.vasm; do
    verify exec "$program" -m "$machine"
    # Every other program on the other machine.
    [ "$machine" = edge ] && machine=hbm || machine=edge
done
verify run builtin:mlp -m edge -p int8
verify run builtin:mlp -m hbm -p w1a1
verify run builtin:bitnet-tiny -m edge -p w1.58a8 --timing-only
verify run builtin:bitnet-tiny -m hbm -p fp32 --timing-only
verify gemm --m 64 --n 256 --k 256 -m edge -p w1.58a8 --timing-only
verify gemm --m 64 --n 256 --k 256 -m dram-hbm2 -p int8 --timing-only
verify run builtin:mlp -m dram-lpddr4 -p w1.58a8 --timing-only
verify exec tests/cmd/files/handshake.vasm -m edge --cores 3
verify gemm --m 1 --n 512 --k 512 -m edge -p fp32 --timing-only
verify gemm --m 33 --n 130 --k 257 -m hbm -p w1.58a8 --timing-only
verify gemm --m 33 --n 130 --k 257 -m hbm -p int8 --timing-only --set dram.model=bandwidth
verify exec tests/cmd/files/collective.vasm -m edge --cores 4
verify exec tests/cmd/files/collective.vasm -m edge --cores 4 --set dram.model=bandwidth
verify workload tests/cmd/files/layers.toml -m hbm -p int8
verify workload tests/cmd/files/layers.toml -m edge -p bf16 --set dram.model=bandwidth
echo "$count programs"
[ "$count" -ge 26 ]

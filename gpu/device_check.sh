#!/usr/bin/env bash
# What a machine with a GPU is asked, in at most six minutes: are all answers those of the host, and how fast is it. Run it in the root of the
# tree with an environment that has torch for CUDA and Triton:   PY=.venv/bin/python OUT=out/device gpu/device_check.sh
# It leaves checks.txt, bench-*.json and machine.txt in OUT; the ratios go into gpu/BENCHMARKS.md with the machine's name.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PY=${PY:-python}
OUT=${OUT:-out/device}
mkdir -p "$OUT"
export OMP_NUM_THREADS=4 MPLBACKEND=Agg
"$PY" - <<'EOF' | tee "$OUT/machine.txt"
import platform, torch
assert torch.cuda.is_available(), "no CUDA device: torch sees none"
p = torch.cuda.get_device_properties(0)
print(f"{p.name}, {p.total_memory / 2**30:.0f} GiB, capability {p.major}.{p.minor}; torch {torch.__version__}, python {platform.python_version()}")
EOF
[ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
failed=0
timeout 150 "$PY" -m scorebed.gpu.bench.device cuda 2>&1 | tee "$OUT/checks.txt" || failed=1
timeout 90 "$PY" -m scorebed.toy.cli bench --device cuda --out "$OUT/float32" || failed=1
timeout 60 "$PY" -m scorebed.toy.cli bench --device cuda --dtype bfloat16 --sections step loop --out "$OUT/bfloat16" || failed=1
timeout 45 "$PY" -m scorebed.toy.cli bench --device cuda --sections step --shape 1 4 64 64 --out "$OUT/single" || failed=1
timeout 60 "$PY" -m scorebed.toy.cli study --device cuda --trajectories 1000000 --nfe 10 --out "$OUT/many" 2>&1 | tee "$OUT/many.txt" || failed=1
cp -f "$OUT/many/many.csv" "$OUT/many.csv" 2>/dev/null
for kind in float32 bfloat16 single; do cp -f "$OUT/$kind/bench.json" "$OUT/bench-$kind.json" 2>/dev/null; done
exit "$failed"

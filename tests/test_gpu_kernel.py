"""The Triton kernel in interpreter mode against the torch path and ``solvers.noise.philox``, and compiled for a GPU that need not be there.

Triton reads its mode when it is imported, so both run in processes of their own and hand back numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

INTERPRETED = r"""
import json, sys
import numpy as np, torch, triton, triton.language as tl
from scorebed import gpu
from scorebed.gpu.plan import kernel
from scorebed.gpu.plan.fused import Passes
from scorebed.gpu.plan.fused_kernels import TritonPasses
from scorebed.gpu.plan.program import Pass, Sum
from scorebed.solvers import SOLVERS, VP, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise.philox import philox

out = {}
grid = uniform_lam(VP(), 4, start=0.9, end=0.05)
a, b, c = (grid[0], grid[1]), (grid[1], grid[2]), (grid[2], grid[3])

@triton.jit
def words(counters, result, k0, k1, L: tl.constexpr):
    i = tl.arange(0, L)
    w0, w1, w2, w3 = kernel.philox(tl.load(counters + i).to(tl.uint32), tl.load(counters + L + i).to(tl.uint32),
        tl.load(counters + 2 * L + i).to(tl.uint32), tl.load(counters + 3 * L + i).to(tl.uint32),
        tl.load(k0).to(tl.uint32), tl.load(k1).to(tl.uint32))
    tl.store(result + i, w0.to(tl.int64)); tl.store(result + L + i, w1.to(tl.int64))
    tl.store(result + 2 * L + i, w2.to(tl.int64)); tl.store(result + 3 * L + i, w3.to(tl.int64))

rng = np.random.default_rng(0)
counters = rng.integers(0, 2**32, (4, 64)); key = [int(k) for k in rng.integers(0, 2**32, 2)]
made = torch.empty((4, 64), dtype=torch.int64)
words[(1,)](torch.tensor(counters), made, torch.tensor([key[0]]), torch.tensor([key[1]]), L=64)
even, odd = counters[[0, 2]].astype(np.uint64), counters[[3, 1]].astype(np.uint64)
philox(even, odd, tuple(key))
out["words"] = int(np.abs(made.numpy() - np.array([even[0], odd[1], even[1], odd[0]]).astype(np.int64)).max())

@triton.jit
def pairs(radius, angle, result, L: tl.constexpr, WIDE: tl.constexpr):
    i = tl.arange(0, L)
    x, y = kernel._pair(tl.load(radius + i).to(tl.uint32), tl.load(angle + i).to(tl.uint32), WIDE)
    tl.store(result + i, x); tl.store(result + L + i, y)

edge = [0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1, 2**30]
w = np.array([(p, q) for p in edge for q in edge], dtype=np.int64).T
r = np.sqrt(-2.0 * np.log1p(-(2.0**32 - w[0] - 0.5) / 2.0**32)); phi = np.pi * ((w[1] - (2.0**31 - 0.5)) / 2.0**31)
truth = np.array([r * np.cos(phi), r * np.sin(phi)])
for wide in (True, False):
    made = torch.empty((2, 64), dtype=torch.float64 if wide else torch.float32)
    pairs[(1,)](torch.tensor(w[0]), torch.tensor(w[1]), made, L=64, WIDE=wide)
    out[f"pairs {wide}"] = float(np.abs((made.numpy() - truth) / r).max())

# random passes: operands, draws, results that others read, results not stored
gap = {}
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
    for shape in ((3, 4, 8), (5, 3), (2, 1), (2, 3, 5, 7), (1, 2100)):
        for k, m, n in ((1, 1, 0), (3, 1, 1), (8, 1, 0), (12, 4, 5), (2, 3, 2), (0, 1, 1)):
            if (k, m, n) == (12, 4, 5) and shape != (5, 3):
                continue
            rng = np.random.default_rng(k + 10 * m)
            sums, at = [], {}
            for j in range(m):
                terms = [(i, float(rng.normal())) for i in range(k + j) if rng.random() < 0.8 or i == 0]
                draws = tuple((i, float(rng.normal())) for i in range(n))
                sums.append(Sum(k + j, j, tuple(terms), draws))
            p = Pass(tuple(range(k)), tuple(sums), (True,) * m, (a, b, c, (grid[3], grid[4]), (grid[0], grid[4]))[:n], (), ())
            xs = [torch.tensor(rng.standard_normal(shape)).to(dtype) for _ in range(k)]
            like, index = torch.empty(shape, dtype=dtype), np.arange(shape[0], dtype=np.uint64) + np.uint64(2**40)
            results = []
            for kind in (Passes, TritonPasses):
                memory = [*xs, *(torch.full(shape, float("nan"), dtype=dtype) for _ in range(m))]
                kind([p], like, index, 9)(0, memory)
                results.append([t.double() for t in memory[k:]])
            size = max(float(t.abs().max()) for t in results[0]) + 1.0
            worst = max(float((s - t).abs().max()) for s, t in zip(*results)) / size
            title = f"{dtype} {'one' if m == 1 else 'several'}"
            gap[title] = max(gap.get(title, 0.0), worst)
out["gap"] = gap

# in place, and a result that is not stored
x = torch.ones(2, 4); keep = torch.full((2, 4), 7.0)
p = Pass((0,), (Sum(1, 0, ((0, 2.0),), ()), Sum(2, 1, ((1, 3.0), (0, 1.0)), ())), (False, True), (), (), ())
TritonPasses([p], x, np.arange(2, dtype=np.uint64), 0)(0, [x, keep, x])
out["in place"] = [float(x.min()), float(x.max()), float(keep.min())]

# whole runs
def bent(y, node):
    return 0.5 * torch.tanh(node.alpha * y + 0.3 * torch.roll(y, 1, -1)) + 0.2 * torch.sin(y)
x = torch.tensor(np.random.default_rng(1).standard_normal((3, 5)))
runs = {}
for name in ("ddpm", "unipc_3", "ghvb_2", "sa_solver", "seeds_2", "rex_rk4"):
    plan = trace(SOLVERS[name], grid, "denoise")
    truth = gpu.run(plan, bent, x, noise=3)
    runner = gpu.Runner(plan, x, noise=4, index=[5, 6, 7], backend="triton")
    runner(bent, x); runner.reseed(3); runner.rename([0, 1, 2])
    runs[name] = float((runner(bent, x) - truth).abs().max())
out["runs"] = runs

# moves in spaces: the fused pass against the Space's own operations, and how many passes a step takes
from scorebed.gpu.plan.moves import Moves
from scorebed.solvers.space import SO3, Box, Sphere, Torus
from scorebed.toy.problems.registry import PROBLEMS

launched, launch = [], Moves._launch
Moves._launch = lambda self, *given: launched.append(0) or launch(self, *given)
moves = {}
laws = {"torus": Torus(3), "box": Box(3, -0.5, [1.0, 2.0, 0.7]), "sphere": Sphere(2), "circle": Sphere(1), "so3": SO3()}
for name, space in laws.items():
    rng = np.random.default_rng(2)
    points = torch.tensor(space.uniform(7, rng)); pull = torch.tensor(space.uniform(7, rng))
    for dtype in (torch.float64, torch.float32):
        room = torch.empty_like(points, dtype=dtype)
        def denoise(y, node):  # gives the same memory at every call
            return room.copy_(y + 0.8 * (pull.to(dtype) - y) + 0.1 * torch.sin(3.0 * y))
        nodes = PROBLEMS["sphere"].nodes(4)
        for method in ("geodesic_euler_maruyama", "geodesic_heun_maruyama", "reflected_pc" if name == "box" else "cf_3", "geodesic_walk"):
            if not SOLVERS[method].claims(space) or (dtype == torch.float32 and method != "geodesic_euler_maruyama"):
                continue
            options = {"noise": 3, "terminal": "none", "index": [9, 2**40, 4, 5, 6, 7, 8]}
            ours = SOLVERS[method](space=space)
            plain = gpu.run(ours, denoise, points.to(dtype), nodes, backend="torch", **options)
            launched.clear()
            gap = float((gpu.run(ours, denoise, points.to(dtype), nodes, backend="triton", **options) - plain).abs().max())
            moves[f"{name} {method} {str(dtype)[6:]}"] = [gap, len(launched)]
out["moves"] = moves
print(json.dumps(out))
"""

COMPILED = r"""
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from scorebed.gpu.plan.kernel import fused_pass

names = [p.name for p in fused_pass.params]
out = {}
def build(title, pointer, k, m, n, needs, even, target):
    wide = pointer == "*fp64"
    kind = {"ins": (pointer,) * max(k, 1), "outs": (pointer,) * m, "table": "*fp64" if wide else "*fp32", "offset": "i32", "keys": "*i64",
            "key_offset": "i32", "index": "*i64", "n": "i32", "batch": "i32"}
    fixed = dict(K=k, M=m, N=n, NEEDS=needs, STORE=(1 << m) - 1, WIDE=wide, EVEN=even)
    kind |= dict.fromkeys(fixed, "constexpr")
    aligned = [["tt.divisibility", 16]]
    attrs = {(0, i): aligned for i in range(max(k, 1))} | {(1, i): aligned for i in range(m)} | {(names.index("n"),): aligned}
    source = ASTSource(fn=fused_pass, signature=kind, constexprs={(names.index(key),): v for key, v in fixed.items()}, attrs=attrs)
    made = triton.compile(source, target=target)
    text = made.asm["ptx"]
    out[title] = {"loads": text.count("ld.global.v4"), "stores": text.count("st.global.v4"), "wide": text.count(".f64")}
hopper = GPUTarget("cuda", 90, 32)
build("three operands", "*fp32", 3, 1, 0, 0b0111, True, hopper)
build("noise", "*fp32", 2, 1, 1, 0b0111, True, hopper)
build("two results", "*bf16", 3, 2, 2, 0b0111111_0011111, True, hopper)
build("float64", "*fp64", 2, 1, 1, 0b0111, False, hopper)
build("everything", "*fp16", 12, 4, 5, (1 << 84) - 1, False, hopper)

from scorebed.gpu.plan.moves_kernel import move
names = [p.name for p in move.params]
for kind, lane in enumerate((4, 4, 3, 9)):
    for pointer in ("*fp64" if kind == 1 else "*fp32",):
        fixed = dict(K=1, N=1, D=lane, KIND=kind, WIDE=pointer == "*fp64")
        signature = {"x": pointer, "ins": (pointer,), "out": pointer, "numbers": "*i64", "index": "*i64", "ends": pointer, "n": "i32",
                     "d": "i32", "batch": "i32"} | dict.fromkeys(fixed, "constexpr")
        source = ASTSource(fn=move, signature=signature, constexprs={(names.index(key),): v for key, v in fixed.items()})
        text = triton.compile(source, target=hopper).asm["ptx"]
        out[f"move {kind}"] = {"stores": text.count("st.global"), "spilled": text.count("st.local")}
print(json.dumps(out))
"""


def elsewhere(code: str, folder: Path, **environment: str) -> Any:
    """What ``code`` prints as JSON in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(_file(code, folder))],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def _file(code: str, folder: Path) -> Path:
    """Triton reads the source of its kernels from a file."""
    path = folder / "code.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return elsewhere(INTERPRETED, tmp_path_factory.mktemp("interpreted"), TRITON_INTERPRET="1")


def test_the_kernels_words_are_philox(interpreted: Any) -> None:
    assert interpreted["words"] == 0


def test_the_kernels_normals_hold_at_the_edges(interpreted: Any) -> None:
    """Relative to the radius, for words at the ends and middles of their range."""
    assert interpreted["pairs True"] < 1e-9  # the truth is formed from u by log1p: 2^-32 u is exact there, the cosine of float64 pi is not
    assert interpreted["pairs False"] < 5e-7


@pytest.mark.parametrize("results", ["one", "several"])
@pytest.mark.parametrize(("dtype", "unit"), [("float64", 2.0**-50), ("float32", 2.0**-20), ("float16", 2.0**-11), ("bfloat16", 2.0**-7)])
def test_the_kernel_is_the_torch_path(interpreted: Any, dtype: str, unit: float, results: str) -> None:
    """A few roundings of sums of up to 20 terms in the accumulator, then one of the state's type; of results that feed each other, up to
    four of those with coefficients of size 1. The interpreter cuts bfloat16 off where a GPU rounds: a whole unit."""
    assert interpreted["gap"][f"torch.{dtype} {results}"] <= unit * (1 if results == "one" else 4)


def test_the_kernel_works_in_place_and_stores_only_what_is_read(interpreted: Any) -> None:
    assert interpreted["in place"] == [7.0, 7.0, 7.0]


@pytest.mark.parametrize("name", ["ddpm", "unipc_3", "ghvb_2", "sa_solver", "seeds_2", "rex_rk4"])
def test_whole_runs_by_the_kernel(interpreted: Any, name: str) -> None:
    assert interpreted["runs"][name] < 1e-12


@pytest.mark.parametrize("space", ["torus", "box", "sphere", "circle", "so3"])
def test_moves_in_a_space_are_one_pass(interpreted: Any, space: str) -> None:
    """The Space's own operations to a few roundings; one pass for each move; a network may give the same memory again."""
    found = {key.removeprefix(f"{space} "): value for key, value in interpreted["moves"].items() if key.startswith(f"{space} ")}
    assert len(found) >= 4
    for key, (gap, _) in found.items():
        assert gap < (1e-13 if key.endswith("64") else 3e-5), (key, gap)
    for dtype in ("float32", "float64"):
        assert found[f"geodesic_euler_maruyama {dtype}"][1] == 4


def test_the_kernel_compiles_for_a_gpu(tmp_path: Path) -> None:
    """For compute capability 9.0, without one: 128-bit loads and stores, and no float64 arithmetic for narrow states."""
    built = elsewhere(COMPILED, tmp_path)
    assert built["three operands"] == {"loads": 6, "stores": 2, "wide": 0}
    assert built["noise"]["loads"] == 4
    assert [built[f"move {kind}"]["stores"] for kind in range(4)] == [4, 4, 3, 9]
    assert built["move 0"]["spilled"] == built["move 1"]["spilled"] == 0
    assert built["noise"]["stores"] == 2
    assert built["noise"]["wide"] == built["two results"]["wide"] == built["everything"]["wide"] == 0
    assert built["float64"]["wide"] > 0

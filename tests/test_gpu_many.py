"""Many trajectories in one kernel: Triton's interpreter and the passes give the same ends, for every kind of method."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.gpu.plan.many import many, table
from scorebed.solvers import SOLVERS, VP, grid, trace
from scorebed.solvers.base import methods_on

ROOT = Path(__file__).resolve().parent.parent
NODES = grid.uniform_lam(VP(), 5, end=0.01)
LAW = GaussianMixture(
    [0.2, 0.5, 0.3],
    [[-1.0, 0.5, 0.2], [1.0, -0.5, 0.0], [0.3, 1.5, -1.0]],
    [[0.1, 0.2, 0.3], [0.2, 0.2, 0.1], [0.05, 0.4, 0.2]],
)

INTERPRETED = r"""
import json, sys
sys.path.insert(0, ROOT + "/tests")
import torch
from test_gpu_many import LAW, NODES
from scorebed.gpu.plan.many import many
from scorebed.solvers import SOLVERS, trace
out = {}
x = NODES[0].sigma * torch.randn(131, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
for name in ("ddim", "unipc_3", "heun", "dpmpp_2m_sde", "ddpm", "sa_solver", "ghvb_3"):
    plan = trace(SOLVERS[name], NODES, terminal="denoise")
    for dtype in (torch.float64, torch.float32):
        a, b = (many(plan, LAW, x.to(dtype), seed=4, first=2**33, backend=how, chunk=100).double() for how in ("triton", "torch"))
        out[f"{name} {dtype}"] = float((a - b).abs().max() / b.abs().max())
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    (folder / "code.py").write_text(f"ROOT = {str(ROOT)!r}\n" + INTERPRETED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(folder / "code.py")],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_one_kernel_is_the_passes(interpreted):
    for name, gap in interpreted.items():
        assert gap < (1e-12 if "64" in name else 2e-4), (name, gap)
    assert len(interpreted) == 14


@pytest.mark.parametrize("name", [n for n in methods_on("gaussian", takes="denoised") if SOLVERS[n].nonlinear is None])
def test_the_table_is_the_plan(name):
    """Walked by hand on numbers, the table gives what the Plan's rows say."""
    plan = trace(SOLVERS[name], NODES[:4], terminal="denoise")
    ops, terms, weights, slots, result = table(plan)
    rows = np.eye(1 + plan.nfe + len(plan.noises))
    memory = [rows[0]] + [np.full(len(rows), np.nan)] * (slots - 1)
    for what, target, first, count in ops:
        if what == 0:
            some = range(first, first + count)
            memory[target] = sum((weights[j] * memory[terms[j]] for j in some), 0.0 * rows[0])
        elif what == 1:
            np.testing.assert_allclose(memory[first], plan.inputs[count], atol=1e-12)
            memory[target] = rows[1 + count]
        else:
            memory[target] = rows[1 + plan.nfe + first]
    np.testing.assert_allclose(memory[result], plan.output, atol=1e-12)


def test_a_split_changes_nothing():
    plan = trace(SOLVERS["ddpm"], NODES, terminal="denoise")
    x = NODES[0].sigma * torch.randn(20, 3, dtype=torch.float64)
    whole = gpu.many(plan, LAW, x, seed=3)
    assert torch.equal(whole, gpu.many(plan, LAW, x, seed=3, chunk=7))
    assert torch.equal(whole[5:], gpu.many(plan, LAW, x[5:], seed=3, first=5))
    assert not torch.equal(whole, gpu.many(plan, LAW, x, seed=4))


def test_refusals():
    plan, x = trace(SOLVERS["ddim"], NODES), torch.zeros(4, 3)
    with pytest.raises(TypeError, match=r"x is torch\.float16"):
        many(plan, LAW, x.half())
    with pytest.raises(ValueError, match=r"give \(n, 3\)"):
        many(plan, LAW, x[:, :2])
    full = GaussianMixture([1.0], [[0.0, 0.0, 0.0]], [np.eye(3)])
    with pytest.raises(ValueError, match="full or structured"):
        many(plan, full, x)


COMPILED = r"""
import json
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from scorebed.gpu.plan.many_kernel import trajectories

names = [p.name for p in trajectories.params]
out = {}
for title, real in (("float32", "*fp32"), ("float64", "*fp64")):
    pointers = dict.fromkeys(("x", "out", "scratch", "weights", "nodes", "log_weights", "means", "variances"), real)
    kind = pointers | {"ops": "*i32", "terms": "*i32", "keys": "*i64", "first_index": "i64"}
    kind |= dict.fromkeys(("n", "d", "count", "result", "slots", "k"), "i32")
    fixed = dict(BLOCK=128, D=4, WIDE=real == "*fp64")
    kind |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(fn=trajectories, signature={n: kind[n] for n in names}, constexprs={(names.index(k),): v for k, v in fixed.items()})
    out[title] = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"].count(".f64")
print(json.dumps(out))
"""


def test_the_kernel_compiles_for_a_gpu(tmp_path):
    """For compute capability 9.0, without one, and without float64 arithmetic on float32 states."""
    (tmp_path / "code.py").write_text(COMPILED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(tmp_path / "code.py")],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    wide = json.loads(done.stdout)
    assert wide["float32"] == 0 < wide["float64"]


def test_the_study_of_output_laws():
    """Errors fall with steps to what chance leaves; exact draws are at chance."""
    from scorebed.toy.studies.many import COLUMNS, plain, study

    table = study(("mixture1d",), ("dpmpp_2m", "ddpm"), ("uniform_lam",), (5, 80), n=4000)
    assert list(table.columns) == list(COLUMNS)
    few, more = (table[table.steps == k] for k in (5, 80))
    assert (more.kolmogorov.to_numpy() < 0.6 * few.kolmogorov.to_numpy()).all()
    assert table.chance.between(0.2 / 63, 2.5 / 63).all()
    law = plain("product2d")
    assert (law.d, law.k) == (2, 6)
    with pytest.raises(ValueError, match="dormand_prince have no Plan"):
        study(solvers=("dormand_prince",))
    with pytest.raises(ValueError, match=r"of R\^d"):
        study(("sphere",))

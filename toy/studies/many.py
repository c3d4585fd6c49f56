r"""A study of output laws by very many trajectories: solver × grid × number of steps, each one launch on a GPU (``gpu.many``).

What is measured of n ends from n starts N(0, sigma²), of a process run down to its last node and the terminal evaluation:

    mean, covariance   |Δ| over the root of the trace, and over the trace, of the target's covariance
    kolmogorov         the largest over the axes of sup |F_n − F|, F the target's distribution function along the axis

``chance`` is what n exact draws have in place of the last: beyond it nothing is resolved. A rotated product is run in the basis in which it
is a product; methods and noise do not know directions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.solvers import GRIDS, SOLVERS, trace
from scorebed.toy.problems.registry import PROBLEMS

COLUMNS = ("problem", "solver", "grid", "steps", "nfe", "mean", "covariance", "kolmogorov", "chance", "trajectories", "seconds")
DEFAULT_SOLVERS = (
    "ddim", "euler", "heun", "dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m", "deis_tab2", "deis_tab3",
    "unipc_2", "unipc_3", "ipndm_2", "ipndm_4", "ddpm", "euler_maruyama", "dpmpp_2m_sde", "stochastic_heun", "sa_solver", "er_sde_3",
)  # fmt: skip
DEFAULT_GRIDS = ("uniform_lam", "uniform", "karras", "quadratic")


def plain(problem: str) -> GaussianMixture:
    """The target of a problem as a mixture with variances along its own axes.

    Returns:
        the GaussianMixture with diagonal variances.

    Raises:
        ValueError: a problem that is not of R^d, or has more than 16 dimensions.
    """
    made = PROBLEMS[problem].make() if problem in PROBLEMS and hasattr(PROBLEMS[problem], "make") else None
    law = RotatedProduct(np.eye(made.d), made.factors).mixture() if isinstance(made, RotatedProduct) else made
    if not isinstance(law, GaussianMixture) or law.d > 16:
        raise ValueError(f"problem = {problem!r}: give one of R^d with at most 16 dimensions, mixture1d product2d product8d manifold")
    if np.ndim(law.covariances) == 3:
        return GaussianMixture(law.weights, law.means, np.einsum("kii->ki", law.covariances))
    return law


def study(
    problems: Sequence[str] = ("mixture1d", "product2d"),
    solvers: Sequence[str] = DEFAULT_SOLVERS,
    grids: Sequence[str] = DEFAULT_GRIDS,
    steps: Sequence[int] = (10, 40),
    *,
    n: int = 1_000_000,
    device: str = "cpu",
    backend: str = "auto",
    seed: int = 0,
    tell: Callable[[int, int, str], object] | None = None,
) -> pd.DataFrame:
    """One row for each problem, solver, grid and number of steps.

    Returns:
        one row for each problem, solver, grid and number of steps.

    Raises:
        ValueError: names that are not known, methods without a Plan, fewer than 2 trajectories.
    """
    import torch

    from scorebed.gpu.plan.many import many

    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device = {device!r}: torch sees no CUDA device here; 'cpu' runs the same study")
    for name, known, what in [(s, SOLVERS, "solver") for s in solvers] + [(g, GRIDS, "grid") for g in grids]:
        if name not in known:
            raise ValueError(f"{what} {name!r} is not known: give one of {', '.join(known)}")
    unfit = [s for s in solvers if SOLVERS[s].nonlinear is not None or "gaussian" not in SOLVERS[s].on or SOLVERS[s].takes != "denoised"]
    if unfit or n < 2:
        raise ValueError(
            f"solvers {', '.join(unfit) or 'none'} have no Plan on R^d; trajectories = {n}: give methods with one, and at least 2"
        )
    rows: list[dict[str, Any]] = []
    cells = [(p, s, g, k) for p in problems for g in grids for k in steps for s in solvers]
    chances = {p: _kolmogorov(torch.from_numpy(plain(p).sample(n, np.random.default_rng([seed, 9]))), plain(p)) for p in problems}
    for i, (p, s, g, k) in enumerate(cells):
        if tell is not None:
            tell(i, len(cells), f"{p} · {s} · {g} · {k}")
        law, process = plain(p), PROBLEMS[p].process
        plan = trace(SOLVERS[s], GRIDS[g](process, k), terminal="denoise")
        draws = torch.Generator(device).manual_seed(seed)
        x = plan.grid[0].sigma * torch.randn((n, law.d), generator=draws, device=device)
        began = _clock(device)
        end = many(plan, law, x, seed=seed, backend=backend)
        took = _clock(device) - began
        rows.append(
            {"problem": p, "solver": s, "grid": g, "steps": k, "nfe": plan.nfe}
            | _errors(end, law)
            | {"chance": chances[p], "trajectories": n, "seconds": took}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _clock(device: str) -> float:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def _errors(end: Any, law: GaussianMixture) -> dict[str, float]:
    import torch

    wide = end.double()
    exact = law.covariance()
    trace_ = float(np.trace(exact))
    mean = wide.mean(0).cpu().numpy()
    covariance = np.atleast_2d(torch.cov(wide.T).cpu().numpy())
    if not np.isfinite(covariance).all():
        return dict.fromkeys(("mean", "covariance", "kolmogorov"), math.inf)
    return {
        "mean": float(np.linalg.norm(mean - law.mean())) / math.sqrt(trace_),
        "covariance": float(np.linalg.norm(covariance - exact)) / trace_,
        "kolmogorov": _kolmogorov(wide, law),
    }


def _kolmogorov(x: Any, law: GaussianMixture) -> float:
    """max over axes of sup |F_n − F|, on x's device."""
    import torch

    variances = np.broadcast_to(np.reshape(law.covariances, (law.k, -1)), (law.k, law.d))
    weights = torch.as_tensor(np.array(law.weights), device=x.device)
    level = torch.arange(1, len(x) + 1, device=x.device, dtype=torch.float64) / len(x)
    worst = 0.0
    for axis in range(law.d):
        values = x[:, axis].double().sort().values
        f = torch.zeros_like(values)
        for w, m, v in zip(weights, law.means[:, axis], variances[:, axis], strict=True):
            f += w * torch.special.ndtr((values - float(m)) / math.sqrt(float(v)))
        worst = max(worst, float(torch.maximum((f - level).abs(), (f - level + 1.0 / len(x)).abs()).max()))
    return worst

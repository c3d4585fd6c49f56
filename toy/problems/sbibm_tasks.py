r"""Two tasks of the package ``sbibm`` (Lueckmann et al., arXiv:2101.04653): somebody else's posteriors, stored as plain csv.

    gaussian_linear   θ ~ N(0, 0.1 I_10), x ~ N(θ, 0.1 I): the reference samples against ``law.given``
    two_moons         θ uniform on [−1, 1]², x = r (cos a, sin a) + (1/4, 0) + (−|θ1 + θ2|, θ2 − θ1)/√2, r ~ N(0.1, 0.01²), |a| < π/2:
                      against a grid of the plane

Only csv and csv.bz2 files are read, with bounds on their size; nothing of the package is imported.
"""

from __future__ import annotations

import bz2
import math
from importlib import metadata
from pathlib import Path

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers.operator import Linear
from scorebed.toy.problems.grid_posterior import GridPosterior, grid_posterior
from scorebed.toy.problems.operators import identity

HOW = "pip install --no-deps -c constraints.txt sbibm"
_MOST = 1 << 24  # bytes of an unpacked table


class Missing(FileNotFoundError):
    """sbibm is not installed; the message has the command that brings it."""


def table(task: str, observation: int, name: str) -> np.ndarray:
    """The numbers of ``tasks/{task}/files/num_observation_{observation}/{name}``, (rows, columns).

    Returns:
        (rows, columns) numbers, float64.

    Raises:
        Missing: the package or the file is not here.
        ValueError: a file that unpacks to more than 16 MiB.
    """
    wanted = f"sbibm/tasks/{task}/files/num_observation_{observation}/{name}"
    try:
        files = metadata.files("sbibm") or []
    except metadata.PackageNotFoundError:
        raise Missing(f"sbibm is not installed: {HOW}") from None
    path = next((Path(str(f.locate())) for f in files if f.as_posix() == wanted), None)
    if path is None or not path.is_file():
        raise Missing(f"sbibm has no {wanted}: {HOW} --force-reinstall")
    raw = path.read_bytes()
    data = bz2.BZ2Decompressor().decompress(raw, _MOST + 1) if name.endswith(".bz2") else raw
    if len(data) > _MOST:
        raise ValueError(f"{wanted} unpacks to more than {_MOST} bytes: not read")
    lines = data.decode("ascii").splitlines()[1:]
    return np.array([[float(v) for v in line.split(",")] for line in lines])


def reference(task: str, observation: int = 1) -> np.ndarray:
    """The stored posterior samples, (10000, d)."""
    return table(task, observation, "reference_posterior_samples.csv.bz2")


def observed(task: str, observation: int = 1) -> np.ndarray:
    """The stored observation, (m,)."""
    return table(task, observation, "observation.csv")[0]


def gaussian_linear() -> tuple[GaussianMixture, Linear]:
    """Prior and operator."""
    return GaussianMixture(np.ones(1), np.zeros((1, 10)), 0.1), identity(10, 0.1)


def two_moons(x: np.ndarray, n: int = 801) -> GridPosterior:
    """p(θ | x) on a grid of [−1, 1]².

    With p = x − (1/4, 0) − shift(θ) in polar coordinates, p(x | θ) = N(|p|; 0.1, 0.01²)/(π |p|) where p_1 > 0.

    Returns:
        the GridPosterior p(θ | x) on [−1, 1]².
    """

    def log_likelihood(theta: np.ndarray) -> np.ndarray:
        shift = np.stack([-np.abs(theta.sum(1)), theta[:, 1] - theta[:, 0]], axis=1) / math.sqrt(2.0)
        p = x - [0.25, 0.0] - shift
        r = np.linalg.norm(p, axis=1)
        with np.errstate(divide="ignore"):
            log = -0.5 * np.square((r - 0.1) / 0.01) - np.log(0.01 * math.sqrt(2.0 * math.pi) * math.pi * r)
        return np.where(p[:, 0] > 0.0, log, -np.inf)

    return grid_posterior(lambda theta: np.full(len(theta), -math.log(4.0)), log_likelihood, -1.0, 1.0, n)

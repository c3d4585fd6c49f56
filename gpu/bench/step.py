r"""What is spent outside the network, and what the exact score costs, as ratios within one run.

Absolute times belong to a machine and a moment; ratios of things timed in turn on it travel better. Every pair is timed in turn and the
shortest time of each counts: what other work on the machine adds is no property of the code.

    step     one step of a method, the network's result lying ready, against the bare a x + b m + c h, diffusers and k-diffusion; a run of
             a wrapped network against that of its bare prediction
    tuples   the same for states of several components, against their bare sums
    loop     a whole run with a network, against the network's own calls
    score    the exact score of a mixture, against its two matrix products, and the memory that it takes
    noise    the unit normals of an interval, against torch.randn
    adaptive a step size for each sample, against one for the batch

On CUDA also: the share of the measured copy bandwidth that a step reaches, the loop outside the network in one captured graph, and the
share of the measured rate of matrix products that the exact score reaches.
"""

from __future__ import annotations

import math
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scorebed import analytic
from scorebed.gpu.bench.adaptive import adaptive
from scorebed.gpu.bench.peers import DIFFUSERS, KDIFFUSION, diffusers_run, kdiffusion_run
from scorebed.gpu.bench.rows import Row, seconds
from scorebed.gpu.bench.tuples import tuples
from scorebed.gpu.mixture import GaussianMixture
from scorebed.gpu.network.wrap import wrap
from scorebed.gpu.noise import Brownian
from scorebed.gpu.plan.execute import run
from scorebed.gpu.plan.function import looped
from scorebed.gpu.plan.graph import Graph
from scorebed.gpu.plan.many import many
from scorebed.gpu.plan.prediction import predicting
from scorebed.gpu.plan.runner import Runner
from scorebed.solvers import EDM, SOLVERS, VP, Node, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise.philox import COEFFICIENTS
from scorebed.solvers.noise.philox_compiled import ENOUGH, loops
from scorebed.solvers.space import SO3, Sphere, Torus

SECTIONS = ("step", "tuples", "loop", "score", "noise", "many", "adaptive")
SIZES = {"K": 10_000, "B": 256, "d": 784}
"""Of the mixture in ``score``."""


class Taken(TorchDispatchMode):
    """The most memory of tensors that were made inside and are alive at once, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for t in tree_leaves(out):
            if isinstance(t, Tensor):
                storage = t.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self.seen:
                    self.seen.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, storage: int, size: int) -> None:
        self.seen.discard(storage)
        self.now -= size


def walk(name: str, x: Tensor, grid: Sequence[Node], prediction: str = "denoised") -> Runner:
    """A Runner of the method; ``walked`` walks its steps."""
    return Runner(predicting(trace(SOLVERS[name], grid), prediction), x, check="none")


def walked(runner: Runner, x: Tensor, value: Tensor) -> Callable[[], Tensor]:
    """All steps, the network always answering ``value``."""
    return partial(runner.loop, lambda y, node: value, x)


def step(x: Tensor, steps: int, repeats: int, kdiffusion: Any, names: Sequence[str] = tuple(DIFFUSERS)) -> list[Row]:
    """Steps of known methods."""
    device, rows = x.device, []
    m, h, value = (torch.randn_like(x) for _ in range(3))
    grid = uniform_lam(VP(), steps)
    plain = walk("dpmpp_2m", x, grid)
    room = torch.empty_like(x)

    def in_place() -> Tensor:
        return torch.mul(x, 0.9, out=room).add_(m, alpha=0.3).add_(h, alpha=-0.2)

    a, b, c = seconds([walked(plain, x, value), in_place, lambda: 0.9 * x + 0.3 * m - 0.2 * h], device, repeats)
    rows.append(Row("step", "dpmpp_2m / a x + b m + c h in place", a / steps / b, target=1.3, ours=a / steps, other=b))
    rows.append(Row("step", "dpmpp_2m / a x + b m + c h as written", a / steps / c, target=1.3, ours=a / steps, other=c))
    for name in names:
        other = diffusers_run(name, x, value, steps)
        if other is not None:
            ours = walked(walk(name, x, grid, "eps"), x, value)
            a, b = (t / steps for t in seconds([ours, other], device, max(2, repeats // 3)))
            target = 1.0 if SOLVERS[name].weak else 1.0 / 3.0
            rows.append(Row("step", f"{name} / diffusers", a / b, target=target, ours=a, other=b))
    rows.append(conversion(x, value, grid, repeats))
    noisy = uniform_lam(EDM(), steps, start=10.0, end=0.05)
    for name in KDIFFUSION:
        other = kdiffusion_run(name, kdiffusion, x, value, steps)
        if other is not None:
            ours = walked(walk(name, x, noisy), x, value)
            a, b = (t / steps for t in seconds([ours, other], device, max(2, repeats // 3)))
            rows.append(Row("step", f"{name} / k-diffusion", a / b, ours=a, other=b))
    if device.type == "cuda":
        copy = torch.empty_like(x)
        a, b = seconds([walked(plain, x, value), partial(copy.copy_, x)], device, repeats)
        moved = sum(len(p.inputs) + sum(p.stored) for p in plain.program.passes) * x.nbytes
        rows.append(Row("step", "bandwidth / that of a copy", moved / a / (2 * x.nbytes / b), "", 0.8, True, a / steps, b))
        rows += in_spaces(x.device, x.numel(), repeats)
    return rows


def in_spaces(device: torch.device, count: int, repeats: int) -> list[Row]:
    """A step of a random walk in a Space as one pass, against the Space's own operations on the same device; noise included."""
    rows, nodes = [], uniform_lam(EDM(), 4, start=2.0, end=0.1)
    for space in (Torus(8), Sphere(2), SO3()):
        x = torch.from_numpy(space.uniform(count // math.prod(space.shape), np.random.default_rng(0))).to(device, torch.float32)
        method = SOLVERS["geodesic_euler_maruyama"](space=space)
        calls = [partial(run, method, lambda y, node: 0.9 * y, x, nodes, noise=1, terminal="none", backend=b) for b in ("triton", "torch")]
        a, b = seconds(calls, device, repeats)
        rows.append(Row("step", f"walk in {space!r}, one pass / torch operations", a / b, ours=a / 4, other=b / 4))
    return rows


def several(x: Tensor, steps: int, repeats: int) -> list[Row]:
    """Steps in phase space and of sequences."""
    return [Row("tuples", what, a / b, target=1.3, ours=a, other=b) for what, a, b in tuples(x, steps, repeats, seconds)]


def conversion(x: Tensor, value: Tensor, grid: Sequence[Node], repeats: int) -> Row:
    """``gpu.run`` of a wrapped network, whose conversion to D is done in the passes, against that of the bare prediction."""
    method, denoise = SOLVERS["dpmpp_2m"], wrap(lambda y, t: value, VP(), "eps")

    def wrapped() -> Tensor:
        return run(method, denoise, x, grid, check="none")

    def bare() -> Tensor:
        return run(method, lambda y, node: value, x, grid, prediction="eps", check="none")

    a, b = seconds([wrapped, bare], x.device, repeats)
    return Row("step", "gpu.run of gpu.wrap(network) / of the bare eps, dpmpp_2m", a / b, target=1.1, ours=a, other=b)


def network(channels: int, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor, Node], Tensor]:
    """A small residual network of convolutions with random weights, as a denoiser of (B, channels, H, W)."""
    generator = torch.Generator().manual_seed(0)
    wide = 64
    shapes = [(wide, channels, 3, 3), (wide, wide, 3, 3), (channels, wide, 3, 3)]
    kernels = [torch.randn(s, generator=generator).mul_(s[1] ** -0.5 / 3.0).to(device, dtype) for s in shapes]

    def denoise(x: Tensor, node: Node) -> Tensor:
        y = torch.nn.functional.conv2d(x, kernels[0], padding=1).mul_(node.alpha)
        y = y + torch.nn.functional.conv2d(torch.nn.functional.silu(y), kernels[1], padding=1)
        return torch.nn.functional.conv2d(torch.nn.functional.silu(y), kernels[2], padding=1)

    return denoise


def loop(x: Tensor, steps: int, repeats: int) -> list[Row]:
    """A whole run with a network against the network's calls alone."""
    if x.ndim != 4:
        return []
    denoise, device = network(x.shape[1], x.device, x.dtype), x.device
    plan = trace(SOLVERS["dpmpp_2m"], uniform_lam(VP(), steps), "denoise")
    runner = Runner(plan, x, check="none")

    def calls(y: Tensor) -> Tensor:
        with torch.no_grad():
            for node in plan.nodes:
                value = denoise(y, node)
        return value

    a, b = seconds([lambda: runner.loop(denoise, x), lambda: calls(x)], device, repeats)
    rows = [
        Row("loop", "outside the network / network, dpmpp_2m", max(0.0, a - b) / b, ours=a, other=b),
        Row("loop", "buffers / state", runner.bytes / x.nbytes, ours=float(runner.bytes), other=float(x.nbytes)),
    ]
    if device.type == "cuda":
        whole = Graph(plan, denoise, x, check="none")
        alone, room = torch.cuda.CUDAGraph(), x.clone()
        calls(room)
        with torch.cuda.graph(alone):
            calls(room)
        a, b = seconds([whole._replay, alone.replay], device, repeats)
        rows.append(Row("loop", "outside the network / network, one graph", max(0.0, a - b) / b, target=0.01, ours=a, other=b))
    return rows


def score(device: torch.device, dtype: torch.dtype, repeats: int, sizes: dict[str, int]) -> list[Row]:
    """The exact denoised mean against its two matrix products, at a noise level where products do and one where the guard is needed."""
    k, b, d = sizes["K"], sizes["B"], sizes["d"]
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(k, d, generator=generator).to(device, dtype)
    table = torch.empty(b, k, device=device, dtype=dtype)
    rows = []
    for sigma in (3.0, 0.1):
        node = EDM().node(sigma)
        x = data[:b] + sigma * torch.randn(b, d, generator=generator).to(device, dtype)
        mixture = GaussianMixture.from_data(data, 0.05, dtype=dtype, device=device)

        def products(x: Tensor = x) -> Tensor:
            torch.mm(x, data.T, out=table)
            return table @ data

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            mixture.denoised(x, node)
            extra = torch.cuda.max_memory_allocated() - before
        else:
            with Taken() as taken:
                mixture.denoised(x, node)
            extra = taken.most
        mine, other = seconds([partial(mixture.denoised, x, node), products], device, repeats)
        title = f"sigma = {sigma:g}, K = {k}, B = {b}, d = {d}"
        rows.append(Row("score", f"exact score / two products, {title}", mine / other, target=1.2, ours=mine, other=other))
        rows.append(Row("score", f"memory, {title}", extra / 2**20, "MiB", 64.0))
        if device.type == "cuda" and sigma == 3.0:
            rows.append(_rate(device, dtype, repeats, mine, 4.0 * k * b * d))
    return rows


def _rate(device: torch.device, dtype: torch.dtype, repeats: int, took: float, operations: float) -> Row:
    a, b = (torch.randn(8192, 8192, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(a)
    (product,) = seconds([lambda: torch.mm(a, b, out=out)], device, repeats)
    reached = operations / took / (2.0 * 8192**3 / product)
    return Row("score", "rate / that of a large product", reached, "", 0.6, True, took, product)


def noise(x: Tensor, repeats: int) -> list[Row]:
    """The normals of an interval against torch's own, which depend on the batch and on the order of calls.

    With the extra ``fast`` on a CPU: of the loops compiled, as they are once a process has drawn enough.

    Returns:
        one Row, the ratio of our time to torch's.
    """
    grid = uniform_lam(VP(), 2)
    made = Brownian(0, tuple(x.shape), like=x)
    if x.device.type == "cpu":
        loops(ENOUGH, COEFFICIENTS)
    a, b = seconds([lambda: made(grid[0], grid[1]), lambda: torch.randn_like(x)], x.device, repeats)
    return [Row("noise", "normals of an interval / torch.randn", a / b, target=2.0, ours=a, other=b)]


def trajectories(device: torch.device, count: int) -> list[Row]:
    """``count`` trajectories in one kernel (without CUDA: in fused passes) against the same loop for one sample under ``torch.vmap``."""
    law = analytic.GaussianMixture([0.3, 0.7], [[-1.0, 0.2], [1.0, -0.4]], [[0.1, 0.2], [0.2, 0.1]])
    means, variances, logs = (
        torch.tensor(np.array(a), dtype=torch.float32, device=device) for a in (law.means, law.covariances, np.log(law.weights))
    )
    plan = trace(SOLVERS["dpmpp_2m"], uniform_lam(VP(), 20, end=0.01), terminal="denoise")

    def one(x: Tensor, node: Node) -> Tensor:
        c = node.alpha**2 * variances + node.sigma**2
        rest = x - node.alpha * means
        weights = torch.softmax(logs - 0.5 * (rest * rest / c + torch.log(c)).sum(-1), 0)
        return (weights[:, None] * (means + node.alpha * variances / c * rest)).sum(0)

    each = torch.vmap(lambda x: looped(plan, one, x, {}))
    x = plan.grid[0].sigma * torch.randn((count, 2), device=device)
    ours, other = seconds([lambda: many(plan, law, x), lambda: each(x)], device, 2)
    wanted = 20.0 if device.type == "cuda" else None
    return [Row("many", f"dpmpp_2m, 20 steps, {count:,} trajectories: torch.vmap / ours", other / ours, "×", wanted, True, ours, other)]


def bench(
    shape: Sequence[int] = (64, 4, 64, 64),
    steps: int = 10,
    repeats: int = 10,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    sections: Sequence[str] = SECTIONS,
    kdiffusion: Any = None,
    sizes: dict[str, int] | None = None,
    report: Callable[[int, int, str], None] | None = None,
) -> list[Row]:
    """Measure.

    Args:
        shape: of the state, (B, …).
        steps: of a run; repeats: how often everything is timed, the shortest time counts.
        sections: of ``SECTIONS``.
        kdiffusion: k-diffusion's ``sampling.py`` as a module, or None.
        sizes: K, B and d of the mixture.

    Returns:
        list of Rows, section by section.

    Raises:
        ValueError: an unknown section, fewer than 2 steps or 1 repeat.
    """
    unknown = set(sections) - set(SECTIONS)
    if unknown or steps < 2 or repeats < 1:
        raise ValueError(
            f"sections = {list(sections)}, steps = {steps}, repeats = {repeats}: give some of {', '.join(SECTIONS)}, >= 2 and >= 1"
        )
    at = torch.device(device)
    x = torch.randn(tuple(shape), device=at, dtype=dtype)
    works: dict[str, Callable[[], list[Row]]] = {
        "step": lambda: step(x, steps, repeats, kdiffusion),
        "tuples": lambda: several(x, steps, repeats),
        "loop": lambda: loop(x[: max(1, len(x) // 8)].contiguous(), steps, max(2, repeats // 3)),
        "score": lambda: score(at, torch.float64 if dtype == torch.float64 else torch.float32, repeats, sizes or SIZES),
        "noise": lambda: noise(x, repeats),
        "adaptive": lambda: adaptive(at, repeats),
        "many": lambda: trajectories(at, 1_000_000 if at.type == "cuda" else 20_000),
    }
    rows: list[Row] = []
    for i, section in enumerate(sections):
        if report is not None:
            report(i, len(sections), section)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other libraries have to say while they are timed
            rows += works[section]()
    return rows


def record(rows: Sequence[Row], **facts: Any) -> dict[str, Any]:
    """What is written to a file: the rows, and what they were measured with."""
    cuda = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        **facts,
        "rows": [{**asdict(row), "met": row.met} for row in rows],
    }

r"""Posterior samplers of other libraries as functions of (model, operator, y, x, nodes) on float64 tensors, for ``check_posterior``.

    check_posterior(azula_posterior("MMPSDenoiser", iterations=2), library="torch")
    check_posterior(deepinv_posterior(lambda denoiser: DDRM(denoiser, sigmas)), library="torch")
    check_posterior(repaint_posterior(RePaintScheduler(clip_sample=False)), library="torch", problem=…a mask…)

The exact model stands in for the network. azula's loops run on the nodes that they are handed, as a schedule of azula's own kind; deepinv's
and diffusers' keep their own grids and starts, since their public calls take none.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from scorebed.solvers.model import Array
from scorebed.solvers.operator import Linear
from scorebed.solvers.schedule import Node

TorchSampler = Callable[[Any, Linear, Any, Any, Sequence[Node]], Any]
AZULA = {
    "DPSSampler": ("y", "A"),
    "PGDMSampler": ("y", "A", "A_inv"),
    "TMPDenoiser": ("y", "A", "var_y"),
    "MMPSDenoiser": ("y", "A", "cov_y"),
    "DiffPIRDenoiser": ("y", "A", "var_y"),
    "JFPSDenoiser": ("y", "A", "cov_y", "cov_x"),
    "RePaintSampler": ("y", "mask"),
    "TDSSampler": ("twist",),
}
"""azula's posterior methods: the class, and what of the observation its constructor takes."""


def azula_posterior(name: str, *, covariance: Array | None = None, **options: Any) -> TorchSampler:
    """A method of ``azula.guidance`` on our nodes; a guided denoiser runs under azula's ``DDPMSampler``.

    Args:
        name: a key of ``AZULA``.
        covariance: of the prior, (d, d), where the method takes one (``JFPSDenoiser``).
        options: of the class, e.g. ``zeta=0.5`` of ``DPSSampler``.

    Returns:
        a TorchSampler on our nodes that gives samples of x0.

    Raises:
        ValueError: an unknown name, or a method that takes the prior's covariance without one.
    """
    if name not in AZULA:
        raise ValueError(f"name = {name!r} is not one of azula's posterior methods: give one of {', '.join(AZULA)}")
    if "cov_x" in AZULA[name] and covariance is None:
        raise ValueError(f"covariance = None: {name} takes the prior's covariance, (d, d)")
    made = getattr(import_module("azula.guidance"), name)

    def run(model: Any, operator: Linear, y: Any, x: Any, nodes: Sequence[Node]) -> Any:
        denoiser = _azula_denoiser(model, nodes)
        seen = _observed(name, operator, y, x, covariance)
        loop: dict[str, Any] = {"steps": len(nodes) - 1, "silent": True, "dtype": x.dtype}
        if name.endswith("Denoiser"):
            guided = made(denoiser, **seen, **options)
            sampler = import_module("azula.sample").DDPMSampler(guided, **loop)
        else:
            guided, sampler = denoiser, made(denoiser, **seen, **loop, **options)
        return guided(sampler(x), sampler.timesteps[-1]).mean.detach()

    run.__name__ = f"azula {name}"
    return run


def _azula_denoiser(model: Any, nodes: Sequence[Node]) -> Any:
    """The exact model as azula's ``Denoiser``, on a schedule that is the nodes: t = 1 is the first, t = 0 the last."""
    import torch

    azula = import_module("azula.denoise")
    last = len(nodes) - 1

    def node(t: Any) -> Node:
        return nodes[last - round(float(t) * last)]

    class Ours(azula.Denoiser):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.schedule = lambda t: tuple(torch.tensor(v, dtype=torch.float64) for v in (node(t).alpha, node(t).sigma))

        def forward(self, x: Any, t: Any, **_: Any) -> Any:
            return azula.DiracPosterior(mean=model(x, node(t)))

    return Ours()


def _observed(name: str, operator: Linear, y: Any, x: Any, covariance: Array | None) -> dict[str, Any]:
    """What the constructor takes of the observation, in azula's words."""
    import torch

    linalg = import_module("azula.linalg.covariance")
    wanted = AZULA[name]
    seen: dict[str, Any] = {}
    if "mask" in wanted:
        mask = (operator.matrix != 0.0).to(x.dtype)
        if not bool((mask.sum(1) == 1.0).all() and (mask.sum(0) <= 1.0).all()):
            raise ValueError(f"operator = {operator!r} is not a mask: {name} takes one, multiples of rows of the identity")
        return {"y": operator.pinv(y).expand(x.shape).clone(), "mask": mask.sum(0).bool().expand(x.shape)}
    if "twist" in wanted:
        return {"twist": _twist(operator, y)}
    seen |= {"y": y, "A": operator}
    if "A_inv" in wanted:
        seen["A_inv"] = operator.pinv
    if "var_y" in wanted:
        seen["var_y"] = operator.variance
    if "cov_y" in wanted:
        seen["cov_y"] = linalg.IsotropicCovariance(torch.tensor(operator.variance, dtype=x.dtype))
    if "cov_x" in wanted:
        values, vectors = torch.linalg.eigh(x.new_tensor(covariance))
        seen["cov_x"] = linalg.FullCovariance(vectors, values)
    return seen


def _twist(operator: Linear, y: Any) -> Callable[[Any, Any], Any]:
    """log N(y; A x̂, r² + rho² A A^T) by row, the usual twisting function, as (K, 1)."""

    def twist(denoised: Any, rho: Any) -> Any:
        residual = (y - operator(denoised)) @ operator.u
        spread = operator.variance + float(rho) ** 2 * operator.s**2
        return -0.5 * (residual**2 / spread + spread.log()).sum(-1, keepdim=True)

    return twist


def deepinv_posterior(make: Callable[[Any], Any], *, seed: int = 1) -> TorchSampler:
    """A sampler in deepinv's way: ``make(denoiser)`` gives an object that is called as ``(y, physics, seed=…)`` and returns x0.

    ``denoiser(x, sigma)`` is E[x0 | x0 + sigma ε = x]; ``physics`` has ``A``, ``A_adjoint``, ``A_dagger``, the singular value decomposition
    (``U_adjoint``, ``V``, ``V_adjoint``, ``mask``) and ``noise_model.sigma``. Start and grid are the sampler's own: the nodes' number is
    not told it, so that ``make`` may take as second argument how many steps to make.

    Args:
        make: as said.
        seed: told the sampler, unless it has no such argument.

    Returns:
        a TorchSampler that gives samples of x0.
    """

    def run(model: Any, operator: Linear, y: Any, x: Any, nodes: Sequence[Node]) -> Any:
        import torch

        process = nodes[0].process
        steps = len(nodes) - 1

        def denoiser(z: Any, sigma: Any, *_: Any, **__: Any) -> Any:
            level = float(torch.as_tensor(sigma).reshape(-1)[0])
            if level <= 0.0:
                return z
            node = process.at_lam(-math.log(level))
            return model((node.alpha * z).contiguous(), node)

        sampler = make(denoiser, steps) if len(inspect.signature(make).parameters) > 1 else make(denoiser)  # type: ignore[call-arg]
        many = y.expand(len(x), operator.m).clone()
        told = {"seed": seed} if "seed" in inspect.signature(getattr(sampler, "forward", sampler)).parameters else {}
        return sampler(many, _physics(operator, x), **told)

    run.__name__ = f"deepinv {getattr(make, '__name__', 'sampler')}"
    return run


def _physics(operator: Linear, x: Any) -> Any:
    """The operator in deepinv's words; what is not seen has the singular value 0, so U and V are square."""
    import torch

    rest = torch.linalg.qr(torch.cat((operator.v, torch.eye(len(operator.v), dtype=x.dtype)), 1))[0][:, len(operator.s) :]
    basis = torch.cat((operator.v, rest), 1)
    mask = torch.cat((operator.s, x.new_zeros(x.shape[-1] - len(operator.s))))[None]

    def u_adjoint(r: Any) -> Any:
        seen = r @ operator.u
        return torch.cat((seen, r.new_zeros(*r.shape[:-1], x.shape[-1] - seen.shape[-1])), -1)

    return SimpleNamespace(
        A=operator,
        A_adjoint=operator.adjoint,
        A_dagger=operator.pinv,
        prox_l2=lambda z, y, gamma: operator.with_variance(1.0).prox(z, y, gamma),
        U_adjoint=u_adjoint,
        V=lambda z: z @ basis.T,
        V_adjoint=lambda z: z @ basis,
        mask=mask,
        noise_model=SimpleNamespace(sigma=math.sqrt(operator.variance)),
        __call__=operator,
    )


def repaint_posterior(scheduler: Any, *, jump_length: int = 1, jump_n_sample: int = 1) -> TorchSampler:
    """diffusers' ``RePaintScheduler`` in the loop of its pipeline, on a mask; eps of the exact model stands in for the U-Net.

    The grid is the scheduler's, its start is drawn by the global generator; ``jump_…`` as in ``set_timesteps``.

    Returns:
        a TorchSampler that gives samples of x0 under a mask.

    Raises:
        ValueError: the operator is not a mask.
    """

    def run(model: Any, operator: Linear, y: Any, x: Any, nodes: Sequence[Node]) -> Any:
        import torch

        seen = _observed("RePaintSampler", operator, y, x, None)
        scheduler.set_timesteps(len(nodes) - 1, jump_length, jump_n_sample)
        z, last = torch.randn_like(x), int(scheduler.timesteps[0]) + 1
        for t in map(int, scheduler.timesteps):
            if t < last:
                alpha = float(scheduler.alphas_cumprod[t]) ** 0.5
                sigma = math.sqrt(1.0 - alpha * alpha)
                node = Node(float(t), alpha, sigma, math.log(alpha / sigma), nodes[0].process)
                eps = (z - alpha * model(z, node)) / sigma
                z = scheduler.step(eps, t, z, seen["y"], seen["mask"].to(z.dtype)).prev_sample
            else:
                z = scheduler.undo_step(z, last)
            last = t
        return z

    run.__name__ = "diffusers RePaintScheduler"
    return run

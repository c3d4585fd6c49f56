r"""Any network as a ``Denoiser``: E[x0 | x] from a module that predicts eps, v, x0, score or flow at a time of its own.

    D(x, node) = a s x + b F(c_in s x, time),      s = alpha'/alpha,

with the node' of the network's schedule at the same lam, so that a solver may run on any schedule: x/alpha has the same law on all of them.
(a, b) are the numbers of ``solvers.model.to_denoised``, c_in = 1 for plain networks. For a network with EDM preconditioning
(arXiv:2206.00364, eq. 7 and table 1), in z = x/alpha and at the noise level rho = sigma/alpha,

    D = c_skip z + c_out F(c_in z, ln(rho)/4),
    c_skip = s_d²/(rho² + s_d²),    c_out = rho s_d/sqrt(rho² + s_d²),    c_in = 1/sqrt(rho² + s_d²).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scorebed.solvers import PREDICTIONS, Denoiser, Node, Schedule
from scorebed.solvers.model import to_denoised

ALIASES = {"x0": "denoised", "sample": "denoised", "epsilon": "eps", "v_prediction": "v", "flow_prediction": "flow"}
"""Names that others give to the same predictions."""

Network = Callable[..., Any]
Numbers = Callable[[Node], tuple[float, float, float, float]]
"""(c_in, time, a, b) at a node: D = a x + b F(c_in x, time)."""


def prediction_of(name: str) -> str:
    """Our name of a prediction, from ours or another's.

    Raises:
        ValueError: unknown.
    """
    ours = ALIASES.get(name, name)
    if ours not in PREDICTIONS:
        raise ValueError(f"prediction = {name!r} is not known: give one of {', '.join((*PREDICTIONS, *ALIASES))}")
    return ours


def linear(prediction: str, node: Node) -> tuple[float, float]:
    """(a, b) with D = a x + b prediction at this node."""
    return float(to_denoised(0.0, 1.0, node, prediction)), float(to_denoised(1.0, 0.0, node, prediction))


def wrap(
    network: Network,
    schedule: Schedule,
    prediction: str = "eps",
    *,
    time: Callable[[Node], float] | None = None,
    condition: Mapping[str, Any] | None = None,
    per_sample: Mapping[str, Any] | None = None,
    null: Mapping[str, Any] | None = None,
    guidance: float = 1.0,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scalar_time: bool = False,
    pick: Callable[[Any, Tensor], Tensor] | None = None,
    grad: bool = False,
) -> Denoiser:
    r"""``network(x, time, **condition)`` as E[x0 | x].

    Args:
        network: a module or function; its output is a tensor, a tuple that begins with one, or an object with ``.sample``.
        schedule: the one it was trained on. Nodes of other schedules are met at the same lam, x scaled accordingly.
        prediction: ``eps``, ``v``, ``x0`` (``denoised``), ``score`` or ``flow``, or diffusers' names of them.
        time: what the network is told at a node of its schedule; the node's t by default. A schedule that has a ``time`` of its own
            (``TableSchedule``) gives that.
        condition: keyword arguments handed to every call as they are.
        per_sample: keyword arguments, tensors with one row per sample (or one row for all), or dicts of such; floating ones are handed over
            in the network's dtype.
        null, guidance: classifier-free guidance, null + guidance (prediction − null), both halves in one call; ``null`` replaces the
            entries of ``per_sample`` in the second half (arXiv:2207.12598, eq. 6 with w = guidance − 1).
        dtype: what the network computes in; its own parameters' dtype by default. The answer comes back in the state's.
        chunk: the most samples (rows of x) in one call.
        scalar_time: hand over a 0-dimensional time instead of one per sample.
        pick: takes the prediction out of (output, x).
        grad: keep the graph; without it the network runs under ``no_grad``.

    Returns:
        A ``Denoiser`` for torch tensors of shape (B, ...). Half-precision states are combined in float32.

    Raises:
        TypeError: ``network`` is not callable.
        ValueError: unknown prediction, a network in training mode whose dropout or batch norm is active, guidance without ``null``.
    """
    ours = prediction_of(prediction)
    clock = time or getattr(schedule, "time", None) or (lambda node: node.t)

    def numbers(node: Node) -> tuple[float, float, float, float]:
        own = node if node.schedule == schedule else schedule.at_lam(node.lam)
        scale = own.alpha / node.alpha
        a, b = linear(ours, own)
        return scale, float(clock(own)), a * scale, b

    return Wrapped(network, numbers, condition, per_sample, null, guidance, dtype, chunk, scalar_time, pick, grad)


def edm_denoiser(network: Network, sigma_data: float = 0.5, *, label: Callable[[float], float] | None = None, **options: Any) -> Denoiser:
    """A network F with EDM preconditioning as E[x0 | x], on any schedule (formula in the module's text).

    Args:
        network: F(c_in z, c_noise).
        sigma_data: standard deviation of the data it was trained with.
        label: c_noise from rho; ln(rho)/4 by default.
        options: those of ``wrap`` from ``condition`` on.

    Raises:
        ValueError: ``sigma_data`` not positive, or as ``wrap``.
    """
    if not (math.isfinite(sigma_data) and sigma_data > 0.0):
        raise ValueError(f"sigma_data = {sigma_data!r} must be positive and finite")
    noise_label = label or (lambda rho: 0.25 * math.log(rho))

    def numbers(node: Node) -> tuple[float, float, float, float]:
        c_skip, c_out, c_in = edm_numbers(node.rho, sigma_data)
        return c_in / node.alpha, float(noise_label(node.rho)), c_skip / node.alpha, c_out

    return Wrapped(network, numbers, **options)


def edm_numbers(rho: float, sigma_data: float) -> tuple[float, float, float]:
    """(c_skip, c_out, c_in) at noise level rho."""
    norm = math.hypot(rho, sigma_data)
    return (sigma_data / norm) ** 2, rho * sigma_data / norm, 1.0 / norm


class Wrapped:
    """The ``Denoiser`` that ``wrap`` and ``edm_denoiser`` make."""

    prediction = "denoised"

    def __init__(
        self,
        network: Network,
        numbers: Numbers,
        condition: Mapping[str, Any] | None = None,
        per_sample: Mapping[str, Any] | None = None,
        null: Mapping[str, Any] | None = None,
        guidance: float = 1.0,
        dtype: torch.dtype | None = None,
        chunk: int | None = None,
        scalar_time: bool = False,
        pick: Callable[[Any, Tensor], Tensor] | None = None,
        grad: bool = False,
    ) -> None:
        if not callable(network):
            raise TypeError(f"network = {network!r} is not callable: give a module or a function of (x, time)")
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise ValueError(f"chunk = {chunk!r}: give the most samples per call, an integer of at least 1")
        if not math.isfinite(guidance) or (guidance != 1.0 and null is None):
            raise ValueError(f"guidance = {guidance!r} needs null, the entries of per_sample without the condition, and a finite number")
        if null is not None and set(null) - set(per_sample or {}):
            raise ValueError(f"null has {', '.join(sorted(set(null) - set(per_sample or {})))}, which per_sample lacks")
        _refuse_training(network)
        self.network, self.numbers, self.guidance = network, numbers, guidance
        self.condition, self.per_sample, self.null = dict(condition or {}), dict(per_sample or {}), None if null is None else dict(null)
        self.dtype = _dtype(network) if dtype is None else dtype
        self.chunk, self.scalar_time, self.pick, self.grad = chunk, scalar_time, pick or first, grad

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}: a network takes torch tensors")
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            if self.chunk is None or x.shape[0] <= self.chunk:
                return self._part(x, node, slice(None), x.shape[0])
            starts = range(0, x.shape[0], self.chunk)
            return torch.cat([self._part(x[i : i + self.chunk], node, slice(i, i + self.chunk), x.shape[0]) for i in starts])

    def _part(self, x: Tensor, node: Node, rows: slice, batch: int) -> Tensor:
        c_in, time, a, b = self.numbers(node)
        work = torch.promote_types(x.dtype, torch.float32)
        wide = x.to(work)
        put = wide if c_in == 1.0 else c_in * wide
        put = put.to(self.dtype or x.dtype)

        def given(values: Mapping[str, Any]) -> dict[str, Any]:
            return {k: _as(_rows(v, k, rows, batch, x), self.dtype) for k, v in values.items()}

        extra, conditional = given(self.per_sample), self.null is not None and self.guidance != 1.0
        if conditional:
            assert self.null is not None
            put = torch.cat((put, put))
            extra = {k: _pair(v, w) for (k, v), w in zip(extra.items(), given({**self.per_sample, **self.null}).values(), strict=True)}
        shape = () if self.scalar_time else (put.shape[0],)
        clock = torch.full(shape, time, device=x.device, dtype=torch.promote_types(put.dtype, torch.float32))
        value = self.pick(self.network(put, clock, **_to(self.condition, x.device), **extra), put)
        if value.shape != put.shape:
            raise ValueError(
                f"the network returned shape {tuple(value.shape)} for {tuple(put.shape)} at {node}: the two must be equal; "
                "`pick` may take the prediction out of the output"
            )
        value = value.to(work)
        if conditional:
            with_it, without = value.chunk(2)
            value = without + self.guidance * (with_it - without)
        return (a * wide + b * value).to(x.dtype)


def first(output: Any, x: Tensor) -> Tensor:
    """The prediction in what a network returned: the tensor, the first of a tuple, or its ``.sample``."""
    if isinstance(output, Tensor):
        return output
    found = output[0] if isinstance(output, tuple | list) else getattr(output, "sample", None)
    if not isinstance(found, Tensor):
        raise TypeError(f"the network returned a {type(output).__name__}: give `pick`, which takes the prediction out of (output, x)")
    return found


def _rows(value: Any, name: str, rows: slice, batch: int, x: Tensor) -> Any:
    if isinstance(value, Mapping):
        return {k: _rows(v, f"{name}[{k!r}]", rows, batch, x) for k, v in value.items()}
    if not isinstance(value, Tensor) or value.ndim == 0 or value.shape[0] not in (1, batch):
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"per_sample: {name} is {found}: give a tensor with {batch} rows, one for each sample, or with one row for all")
    if value.shape[0] == batch:
        return value[rows].to(x.device)
    return value.to(x.device).expand(x.shape[0], *value.shape[1:])


def _as(value: Any, dtype: torch.dtype | None) -> Any:
    if isinstance(value, Mapping):
        return {k: _as(v, dtype) for k, v in value.items()}
    return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def _pair(a: Any, b: Any) -> Any:
    return {k: _pair(v, b[k]) for k, v in a.items()} if isinstance(a, Mapping) else torch.cat((a, b))


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {k: _to(v, device) for k, v in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def _dtype(network: Network) -> torch.dtype | None:
    if not isinstance(network, nn.Module):
        return None
    return next((p.dtype for p in network.parameters() if p.dtype.is_floating_point), None)


def _refuse_training(network: Network) -> None:
    if isinstance(network, nn.Module):
        for name, part in network.named_modules():
            live = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0.0
            if part.training and (live or isinstance(part, nn.modules.batchnorm._BatchNorm)):
                raise ValueError(f"network is in training mode, and its {name or 'module'} ({type(part).__name__}) is active: call .eval()")

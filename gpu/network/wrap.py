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
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from scorebed.gpu.network.conditions import Conditions, tree_map
from scorebed.solvers import PREDICTIONS, Node, Schedule
from scorebed.solvers.guide import Rule, Scale
from scorebed.solvers.model import to_denoised

ALIASES = {"x0": "denoised", "sample": "denoised", "epsilon": "eps", "v_prediction": "v", "flow_prediction": "flow"}
"""Names that others give to the same predictions."""

COMPUTES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""What networks compute in; narrower types only store weights."""

_TIME = "time of each row"
"""Times that differ by sample travel with the conditions, under a name that is no argument's."""

Network = Callable[..., Any]
Numbers = Callable[[Node], tuple[float, float, float, float]]
"""(c_in, time, a, b) at a node: D = a x + b F(c_in x, time)."""


def prediction_of(name: str) -> str:
    """Our name of a prediction, from ours or another's.

    Returns:
        our name of the prediction, such as "x0" or "eps".

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
    guidance: Rule | Scale = 1.0,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    scalar_time: bool = False,
    pick: Callable[[Any, Tensor], Tensor] | None = None,
    grad: bool = False,
) -> Wrapped:
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
            entries of ``per_sample`` in the second half. ``guidance`` is a number, one for each sample, a function of the node that gives
            either, or a rule of ``solvers.guide``.
        dtype: what the network computes in. By default that of its parameters, where it can compute: a network whose weights are stored in
            float8 (layerwise casting) computes in the dtype that its hooks name, or else in the state's.
        chunk: the most rows that the network sees in one call.
        scalar_time: hand over a 0-dimensional time instead of one per sample.
        pick: takes the prediction out of (output, x).
        grad: keep the graph; without it the network runs under ``no_grad``.

    Returns:
        A ``Denoiser`` for torch tensors of shape (B, ...). Half-precision states are combined in float32. ``gpu.run`` computes
        a s x + b F in its fused passes instead, from ``numbers`` and ``raw``.

    Raises:
        TypeError: ``network`` is not callable.
        ValueError: unknown prediction, a network in training mode whose dropout or batch norm is active, guidance without ``null``.
    """
    numbers = Trained(schedule, prediction_of(prediction), time)
    return Wrapped(network, numbers, condition, per_sample, null, guidance, dtype, chunk, scalar_time, pick, grad)


@dataclass(frozen=True)
class Trained:
    """(s, time, a s, b) of a network trained on ``schedule`` to give ``prediction``, told ``time(node')``."""

    schedule: Schedule
    prediction: str
    time: Callable[[Node], float] | None = None

    @property
    def integral(self) -> bool:
        """Whether the network is told integers, which it may look up in a table."""
        return self.time is None and getattr(self.schedule, "rounding", "none") == "nearest"

    def __call__(self, node: Node) -> tuple[float, float, float, float]:
        own = node if node.schedule == self.schedule else self.schedule.at_lam(node.lam)
        clock = self.time or getattr(self.schedule, "time", None)
        scale = own.alpha / node.alpha
        a, b = linear(self.prediction, own)
        return scale, float(own.t if clock is None else clock(own)), a * scale, b


@dataclass(frozen=True)
class Preconditioned:
    """(c_in/alpha, c_noise, c_skip/alpha, c_out) of EDM preconditioning."""

    sigma_data: float
    label: Callable[[float], float] | None = None

    def __call__(self, node: Node) -> tuple[float, float, float, float]:
        c_skip, c_out, c_in = edm_numbers(node.rho, self.sigma_data)
        label = 0.25 * math.log(node.rho) if self.label is None else float(self.label(node.rho))
        return c_in / node.alpha, label, c_skip / node.alpha, c_out


def edm_denoiser(network: Network, sigma_data: float = 0.5, *, label: Callable[[float], float] | None = None, **options: Any) -> Wrapped:
    """A network F with EDM preconditioning as E[x0 | x], on any schedule (formula in the module's text).

    Args:
        network: F(c_in z, c_noise).
        sigma_data: standard deviation of the data it was trained with.
        label: c_noise from rho; ln(rho)/4 by default.
        options: those of ``wrap`` from ``condition`` on.

    Returns:
        the Wrapped denoiser (x, node) -> E[x0 | x].

    Raises:
        ValueError: ``sigma_data`` not positive, or as ``wrap``.
    """
    if not (math.isfinite(sigma_data) and sigma_data > 0.0):
        raise ValueError(f"sigma_data = {sigma_data!r} must be positive and finite")
    return Wrapped(network, Preconditioned(sigma_data, label), **options)


def edm_numbers(rho: float, sigma_data: float) -> tuple[float, float, float]:
    """(c_skip, c_out, c_in) at noise level rho."""
    norm = math.hypot(rho, sigma_data)
    return (sigma_data / norm) ** 2, rho * sigma_data / norm, 1.0 / norm


class Wrapped:
    """The ``Denoiser`` that ``wrap`` and ``edm_denoiser`` make, D = a x + b F(c_in x, time).

    ``numbers(node)`` is (c_in, time, a, b) and ``raw(y, node)`` the prediction F at y = c_in x, guided and in y's dtype: what ``gpu.run``
    puts into its passes. ``take(rows)`` is the denoiser of a part of the batch.
    """

    prediction = "denoised"

    def __init__(
        self,
        network: Network,
        numbers: Numbers,
        condition: Mapping[str, Any] | None = None,
        per_sample: Mapping[str, Any] | None = None,
        null: Mapping[str, Any] | None = None,
        guidance: Rule | Scale = 1.0,
        dtype: torch.dtype | None = None,
        chunk: int | None = None,
        scalar_time: bool = False,
        pick: Callable[[Any, Tensor], Tensor] | None = None,
        grad: bool = False,
    ) -> None:
        if not callable(network):
            raise TypeError(f"network = {network!r} is not callable: give a module or a function of (x, time)")
        if null is not None and set(null) - set(per_sample or {}):
            raise ValueError(f"null has {', '.join(sorted(set(null) - set(per_sample or {})))}, which per_sample lacks")
        _refuse_training(network)
        given = _tensors(dict(per_sample or {}), "per_sample")
        without = None if null is None else {**given, **_tensors(dict(null), "null")}
        self.network, self.numbers = network, numbers
        self.conditions = Conditions(given, without, guidance, chunk)
        self.condition = dict(condition or {})
        self.dtype = compute_dtype(network) if dtype is None else dtype
        self.scalar_time, self.pick, self.grad = scalar_time, pick or first, grad

    def take(self, rows: Any) -> Wrapped:
        """The denoiser of these samples of the batch: a slice, a mask or positions."""
        part = copy(self)
        part.conditions = self.conditions.take(rows)
        return part

    def keeping(self) -> Wrapped:
        """The same denoiser, which keeps its graph."""
        made = copy(self)
        made.grad = True
        return made

    def fuses(self, dtype: torch.dtype) -> bool:
        """Whether the state's dtype holds what the network computes, so that nothing is lost by combining in it."""
        return self.dtype is None or torch.promote_types(self.dtype, dtype) == dtype

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        if not isinstance(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}: a network takes torch tensors")
        c_in, time, a, b = self.numbers(node)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            value = self._predict(wide if c_in == 1.0 else c_in * wide, time, node, x.dtype, (wide, a, b))
            return (a * wide + b * value.to(wide.dtype)).to(x.dtype)

    def at(self, x: Tensor, nodes: Sequence[Node]) -> Tensor:
        """E[x0 | x] with a node for each sample, in one call of the network.

        Returns:
            E[x0 | x], of the shape and dtype of x.

        Raises:
            ValueError: another number of nodes than samples, or a network that takes one time.
        """
        if len(nodes) != x.shape[0] or self.scalar_time:
            raise ValueError(
                f"{len(nodes)} nodes for {x.shape[0]} samples, scalar_time={self.scalar_time}: give one for each, and times by row"
            )
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        rows = [torch.tensor(column, dtype=torch.float64) for column in zip(*map(self.numbers, nodes), strict=True)]
        c_in, a, b = (rows[i].to(wide).view(-1, *[1] * (x.ndim - 1)) for i in (0, 2, 3))
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            value = self._predict(c_in * wide, rows[1], nodes[0], x.dtype, (wide, a, b))
            return (a * wide + b * value.to(wide.dtype)).to(x.dtype)

    def raw(self, y: Tensor, node: Node) -> Tensor:
        """F(y, time) in y's dtype."""
        c_in, time, a, b = self.numbers(node)
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            state = y if self.conditions.guidance.linear else y / c_in
            return self._predict(y, time, node, y.dtype, (state, a, b)).to(y.dtype)

    def _predict(self, y: Tensor, time: float | Tensor, node: Node, dtype: torch.dtype, means: tuple[Tensor, Any, Any]) -> Tensor:
        """F in the network's own dtype, or in float32 after guidance; at one time, or at one for each row. ``means``: as ``Conditions``."""
        conditions = self.conditions
        if isinstance(time, Tensor):  # which goes where its row goes
            given, null = ({**tree, _TIME: time} if tree is not None else None for tree in (conditions.given, conditions.null))
            conditions = replace(conditions, given=given, null=null)

        def call(z: Tensor, given: Any) -> Tensor:
            kind = torch.int64 if getattr(self.numbers, "integral", False) else torch.promote_types(z.dtype, torch.float32)
            if isinstance(time, Tensor):
                clock = given[_TIME].to(kind)
            else:
                told = int(time) if kind == torch.int64 else time
                clock = torch.full(() if self.scalar_time else (z.shape[0],), told, device=z.device, dtype=kind)
            extra = {k: _as(v, self.dtype) for k, v in given.items() if k != _TIME}
            value = self.pick(self.network(z, clock, **_to(self.condition, z.device), **extra), z)
            if value.shape != z.shape:
                raise ValueError(
                    f"the network returned shape {tuple(value.shape)} for {tuple(z.shape)} at {node}: the two must be equal; "
                    "`pick` may take the prediction out of the output"
                )
            return value

        return conditions(call, y.to(self.dtype or dtype), node, means)


def first(output: Any, x: Tensor) -> Tensor:
    """The prediction in what a network returned: the tensor, the first of a tuple, or its ``.sample``."""
    if isinstance(output, Tensor):
        return output
    found = output[0] if isinstance(output, tuple | list) else getattr(output, "sample", None)
    if not isinstance(found, Tensor):
        raise TypeError(f"the network returned a {type(output).__name__}: give `pick`, which takes the prediction out of (output, x)")
    return found


def _tensors(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Conditions of a sample each, by name: tensors, or dicts of them."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, below in value.items():
                check(f"{name}[{key!r}]", below)
        elif not isinstance(value, Tensor) or value.ndim == 0:
            kind = type(value).__name__ if not isinstance(value, Tensor) else "a tensor without rows"
            raise ValueError(f"{what}: {name} is {kind}: give a tensor with one row for each sample, or with one row for all")

    for name, value in values.items():
        check(name, value)
    return dict(values)


def _as(tree: Any, dtype: torch.dtype | None) -> Any:
    return tree_map(lambda leaf: leaf[0].to(dtype) if dtype is not None and leaf[0].is_floating_point() else leaf[0], tree)


def _to(tree: Any, device: torch.device) -> Any:
    return tree_map(lambda leaf: leaf[0].to(device), tree)


def compute_dtype(network: Network) -> torch.dtype | None:
    """What a network computes in, or None where it does not tell: the dtype of its parameters, unless they are only stored in it."""
    if not isinstance(network, nn.Module):
        return None
    for part in network.modules():  # diffusers' layerwise casting keeps its hooks here
        hooks = getattr(getattr(part, "_diffusers_hook", None), "hooks", {})
        for hook in hooks.values():
            if isinstance(named := getattr(hook, "compute_dtype", None), torch.dtype):
                return named
    kinds = [p.dtype for p in network.parameters() if p.dtype.is_floating_point]
    return next((kind for kind in kinds if kind in COMPUTES), None)


def _refuse_training(network: Network) -> None:
    if isinstance(network, nn.Module):
        for name, part in network.named_modules():
            live = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0.0
            if part.training and (live or isinstance(part, nn.modules.batchnorm._BatchNorm)):
                raise ValueError(f"network is in training mode, and its {name or 'module'} ({type(part).__name__}) is active: call .eval()")

r"""Moves in a Space as one pass each: a step that is written ``space.move(x, c P_x(D − x) + d space.noise(x, z))`` reads x and D and writes
its end, by one kernel.

Steps are not rewritten. They are run with a Space whose tangent vectors are sums not yet formed (``Tangent``), with a denoiser and a noise
of the same kind; ``move`` and ``exp`` hand such a sum to the kernel. Whatever else a step does with one (a norm, a transport) forms it
first, by the Space's own operations, so that the result is the same whether the kernel is there or not.
"""

from __future__ import annotations

import math
import struct
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from scorebed.gpu.noise import Brownian, address
from scorebed.gpu.plan.backend import backend_for
from scorebed.solvers.base import Solver
from scorebed.solvers.model import Denoiser
from scorebed.solvers.process import Point
from scorebed.solvers.space import SO3, Box, Sphere, Torus

_MOST = 4
"""Vectors that the kernel takes; a longer sum is formed first."""
_WIDEST = 16
"""Numbers of a point on a sphere that the kernel takes."""


def kind_of(space: Any) -> int | None:
    """Which move of ``moves_kernel.py`` the Space has, or None."""
    if isinstance(space, Box):
        return 1 if space.rule == "reflect" else None
    if isinstance(space, Sphere):
        return 2 if space.dim < _WIDEST else None
    return 0 if isinstance(space, Torus) else 3 if isinstance(space, SO3) else None


class Tangent:
    """Σ c_i v_i, not yet formed; v_i a tensor, or the interval that a normal belongs to. ``at``: projected to the tangent space there."""

    def __init__(self, moves: Moves, terms: list[tuple[float, Any]], at: Tensor | None = None) -> None:
        self.moves, self.terms, self.at = moves, terms, at
        if any(isinstance(v, Tensor) for _, v in terms):
            moves.open.add(self)

    def value(self) -> Tensor:
        """The tensor, formed once."""
        if len(self.terms) != 1 or self.terms[0][0] != 1.0 or self.at is not None or isinstance(self.terms[0][1], tuple):
            total: Any = 0.0
            for c, v in self.terms:
                total = total + c * (self.moves.source(*v) if isinstance(v, tuple) else v)
            self.terms, self.at = [(1.0, total if self.at is None else self.moves.plain.tangent(self.at, total))], None
        return self.terms[0][1]

    def _with(self, other: Any, sign: float) -> Any:
        if isinstance(other, Tensor):
            other = Tangent(self.moves, [(1.0, other)], None)
        if not isinstance(other, Tangent):
            return NotImplemented
        if self.at is not other.at:
            return self.value() + sign * other.value()
        return Tangent(self.moves, [*self.terms, *((sign * c, v) for c, v in other.terms)], self.at)

    def __add__(self, other: Any) -> Any:
        return self._with(other, 1.0)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, -1.0)

    def __mul__(self, c: Any) -> Any:
        return self.value() * c if isinstance(c, Tensor) else Tangent(self.moves, [(c * own, v) for own, v in self.terms], self.at)

    __rmul__ = __mul__

    def __neg__(self) -> Any:
        return -1.0 * self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value(), name)

    def __getitem__(self, where: Any) -> Tensor:
        return self.value()[where]

    def __truediv__(self, other: Any) -> Any:
        return self.value() / formed(other) if isinstance(other, (Tensor, Tangent)) else (1.0 / other) * self

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function of torch sees tensors."""
        return function(*formed(args), **formed(kwargs or {}))


def formed(value: Any) -> Any:
    """``value`` with every ``Tangent`` in it formed."""
    if isinstance(value, Tangent):
        return value.value()
    if isinstance(value, (tuple, list)):
        return type(value)(map(formed, value))
    return {k: formed(v) for k, v in value.items()} if isinstance(value, dict) else value


class Moves:
    """A Space whose moves are one pass each; what it does not fuse, the Space itself does.

    Args:
        space: a Torus, a Box that reflects, a Sphere or SO3 (``kind_of``).
        noise: of the run, on the device of the state.

    Raises:
        ValueError: another Space.
    """

    def __init__(self, space: Any, noise: Brownian) -> None:
        kind = kind_of(space)
        if kind is None:
            raise ValueError(f"{space} has no fused move: give a Torus, a Box that reflects, a Sphere of dimension < {_WIDEST} or SO3")
        self.plain, self.source, self.kind = space, noise, kind
        self.open: WeakSet[Tangent] = WeakSet()
        self.index = torch.as_tensor(noise.index.astype("int64"), device=noise.device)
        ends = [*space.lower, *space.upper] if kind == 1 else [0.0]
        self.ends = torch.tensor(ends, dtype=noise.dtype, device=noise.device)
        self.lane = space.shape[0] if kind == 2 else 9 if kind == 3 else 4
        self.unit = math.sqrt(2.0) if kind == 3 else 1.0  # the metric of SO3 is half of that of its matrices

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.plain, name)
        return (lambda *args: found(*formed(args))) if callable(found) else found

    def tangent(self, x: Tensor, v: Any) -> Tangent:
        """P_x v, not yet formed."""
        if isinstance(v, Tangent) and v.at is None:
            return Tangent(self, v.terms, self._at(x))
        return Tangent(self, [(1.0, formed(v))], self._at(x))

    def noise(self, x: Tensor, z: Any) -> Any:
        """The unit tangent normal of z, not yet formed."""
        if isinstance(z, Tangent) and z.at is None:
            return Tangent(self, [(self.unit * c, v) for c, v in z.terms], self._at(x))
        return self.plain.noise(x, formed(z))

    def transport(self, x: Tensor, y: Tensor, v: Any) -> Any:
        """v itself in a flat space."""
        return v if self.kind < 2 else self.plain.transport(x, y, formed(v))

    def retract(self, x: Tensor, v: Any) -> Tensor:
        """``move`` in a torus."""
        return self.move(x, v) if self.kind == 0 else self.plain.retract(x, formed(v))

    def ricci(self, x: Tensor, v: Any) -> Any:
        """A multiple of v in all of these spaces."""
        return {0: 0.0, 1: 0.0, 2: self.plain.dim - 1.0, 3: 0.5}[self.kind] * v

    def move(self, x: Any, v: Any) -> Tensor:
        """The end of the move from x with v, by the kernel where v is a tangent vector at x that is not yet formed."""
        x, at = formed(x), self._at(x)
        if not isinstance(v, Tangent) or v.at is not at or sum(isinstance(part, Tensor) for _, part in v.terms) > _MOST:
            v = formed(v)
            if v.shape != x.shape or v.dtype != x.dtype:
                return self.plain.move(x, v)
            v = Tangent(self, [(1.0, v)], at)
        return self._launch(x, v.terms)

    def _at(self, x: Tensor) -> Tensor | None:
        """Where a vector is projected: nowhere in a flat space."""
        return None if self.kind < 2 else x

    def exp(self, x: Any, v: Any) -> Tensor:
        """``move``; in a box the straight line."""
        return self.plain.exp(x, formed(v)) if self.kind == 1 else self.move(x, v)

    def _launch(self, x: Tensor, terms: list[tuple[float, Any]]) -> Tensor:
        from scorebed.gpu.plan import moves_kernel

        x = x.contiguous()
        vectors = [(c, v.contiguous()) for c, v in terms if not isinstance(v, tuple)]
        draws = [(c, v) for c, v in terms if isinstance(v, tuple)]
        numbers = [_bits(c) for c, _ in vectors]
        for c, (s, t, part) in draws:
            numbers += [_bits(c), *address(self.source.seed, s, t, part)]
        # from memory that is not pinned a small copy is staged at once: nothing waits for the device
        table = torch.tensor(numbers or [0], dtype=torch.int64).to(x.device, non_blocking=True)
        out, (batch, n) = torch.empty_like(x), (x.shape[0], x[0].numel())
        grid = (-(-batch * -(-n // self.lane) // moves_kernel.BLOCK.value),)
        device: Any = torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
        with device:
            moves_kernel.move[grid](
                x, tuple(v for _, v in vectors) or (x,), out, table, self.index, self.ends, n, self.plain.shape[-1], batch,
                K=len(vectors), N=len(draws), D=self.lane, KIND=self.kind, WIDE=x.dtype == torch.float64,
            )  # fmt: skip
        return out


def _bits(c: float) -> int:
    return struct.unpack("<q", struct.pack("<d", c))[0]


def fused_moves(method: Solver, noise: Any, backend: str) -> Solver:
    """The method with the moves of its Space fused; itself where there is no Space, or none with a fused move, or no kernel for it.

    Args:
        method: a method that moves in a Space, ``SOLVERS[name](space=…)``.
        noise: of the run; refined noise and that of others is made by its own code.
        backend: ``auto``, ``torch`` or ``triton``.

    Returns:
        the Solver with fused moves, or ``method`` itself.
    """
    space = method.space
    if kind_of(space) is None or not isinstance(noise, Brownian) or noise.refine or backend_for(noise.device, backend) != "triton":
        return method
    moves = Moves(space, noise)

    def step(denoise: Denoiser, x: Tensor, s: Any, t: Any, carry: Any, _: Any, *, space: Any = space) -> tuple[Tensor, Any]:
        def asked(y: Any, node: Any) -> Tangent:
            for one in list(moves.open):  # the network may write where it wrote before
                one.value()
            moves.open.clear()
            return Tangent(moves, [(1.0, denoise(formed(y), node))])

        def drawn(a: Point, b: Point, part: int = 0) -> Tangent:
            return Tangent(moves, [(1.0, (a, b, part))])

        return formed(method.step(asked, x, s, t, carry, drawn, space=moves))

    return replace(method, step=step)

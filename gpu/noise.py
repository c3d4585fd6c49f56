r"""The noise of ``solvers.noise`` on torch: the same Philox words, bit for bit, and the same normals to float tolerance.

A value belongs to (seed, sample index, interval, element) as laid down there, so it does not depend on the batch, on how that is split, or
on the device. 32-bit words are held in int64 lanes: the product of two wraps modulo 2^64, and shift and mask take it apart. Everything
works in place on scratch memory that is taken once.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from scorebed.solvers.noise import BrownianNoise, interval_key, kind_of
from scorebed.solvers.noise.base import _fixed_point
from scorebed.solvers.noise.philox import normals
from scorebed.solvers.process import Point
from scorebed.solvers.schedule import Node

_M0, _M1, _W0, _W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
LANES = 1 << 13
"""Counters worked on at once on a CPU: few enough for the scratch memory to stay in cache."""


def words(kind: bytes, what: bytes) -> tuple[int, int, int]:
    """(h0, h1, h2) of an address: the key and the last word of the counter."""
    h0, h1, h2 = struct.unpack("<III", blake2b(what, digest_size=12, person=kind).digest())
    return h0, h1, h2


def address(seed: int, s: Point, t: Point, part: int = 0) -> tuple[int, int, int]:
    """The words of the interval between two nodes, in either direction, for the ``part``-th of its draws.

    Returns:
        (h0, h1, h2), three 32-bit words.

    Raises:
        ValueError: lam not finite, or the two nodes at the same lam.
    """
    low, high = sorted((s.clock + 0.0, t.clock + 0.0))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"noise needs finite lam at both ends, got {s.clock} and {t.clock}: stop short of sigma = 0 and of alpha = 0")
    if low == high:
        raise ValueError(f"noise needs two nodes with different lam, got s.lam = t.lam = {s.clock}")
    return words(kind_of(part), interval_key(seed, low, high))


def round_keys(address: tuple[int, int, int]) -> list[int]:
    """The ten pairs of round keys, then the stream."""
    h0, h1, h2 = address
    return [(k + r * w) & _LOW for r in range(10) for k, w in ((h0, _W0), (h1, _W1))] + [h2]


def widest(device: torch.device | str) -> torch.dtype:
    """float64 where the device has it, else float32 (Apple's GPUs)."""
    try:
        torch.empty(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return torch.float32
    return torch.float64


class Philox:
    """Unit normals of blocks of counters, in scratch memory taken once.

    Args:
        lanes: the most counters in one call.
        compute: float64, or float32 with the radius kept accurate where it is small.
    """

    def __init__(self, lanes: int, device: torch.device | str, compute: torch.dtype = torch.float64) -> None:
        if compute not in (torch.float64, torch.float32):
            raise ValueError(f"compute = {compute}: give torch.float64 or torch.float32")
        self.lanes, self.compute = lanes, compute
        self._words = torch.empty((4, 2 * lanes), dtype=torch.int64, device=device)
        self._numbers = torch.empty((5, 2 * lanes), dtype=compute, device=device)
        self._low = torch.empty(2 * lanes, dtype=torch.bool, device=device)
        self._out = torch.empty(4 * lanes, dtype=compute, device=device)
        self._count = torch.arange(lanes, dtype=torch.int64, device=device)
        self._factors = torch.tensor([[_M0], [_M1]], dtype=torch.int64, device=device)

    def words(self, index: Tensor, first: int, cols: int, keys: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Rows (w0, w2) and (w3, w1), each (2, R cols), of counters first … first + cols - 1 of the R samples ``index``; overwritten by
        the next call.

        Returns:
            (even (2, R cols), odd (2, R cols)), the rows (w0, w2) and (w3, w1).
        """
        rows = len(index)
        lanes = rows * cols
        even, odd, product, high = (w[: 2 * lanes].view(2, lanes) for w in self._words.unbind())
        torch.add(self._count[:cols], first, out=even[0].view(rows, cols)[0])
        even[0].view(rows, cols)[1:] = even[0].view(rows, cols)[0]
        name = index[:, None]
        torch.bitwise_right_shift(name, 32, out=high[0].view(rows, cols)[:, :1])
        even[1].view(rows, cols).copy_(high[0].view(rows, cols)[:, :1].expand(rows, cols))
        torch.bitwise_and(name, _LOW, out=high[0].view(rows, cols)[:, :1])
        odd[1].view(rows, cols).copy_(high[0].view(rows, cols)[:, :1].expand(rows, cols))
        odd[0].zero_().bitwise_xor_(keys[20])
        for r in range(10):
            torch.mul(even, self._factors, out=product)
            torch.bitwise_right_shift(product, 32, out=high)
            high.bitwise_and_(_LOW).bitwise_xor_(odd)  # the shift keeps the sign
            torch.bitwise_xor(high[1], keys[2 * r], out=even[0])
            torch.bitwise_xor(high[0], keys[2 * r + 1], out=even[1])
            torch.bitwise_and(product, _LOW, out=odd)
        return even, odd

    def normals(self, index: Tensor, first: int, cols: int, keys: Sequence[Any]) -> Tensor:
        """(R, 4 cols) unit normals: elements 4 first … of the samples ``index``; overwritten by the next call."""
        even, odd = self.words(index, first, cols, keys)
        lanes = len(index) * cols
        radius, y, c, s, spare = (a[: 2 * lanes].view(2, lanes) for a in self._numbers.unbind())
        if self.compute == torch.float64:
            radius.copy_(even).add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).sqrt_()
        else:
            low = torch.lt(even, 1 << 31, out=self._low[: 2 * lanes].view(2, lanes))
            radius.copy_(even).add_(0.5).mul_(2.0**-32).log_()
            even.bitwise_xor_(_LOW)
            spare.copy_(even).add_(0.5).mul_(-(2.0**-32)).log1p_()
            torch.where(low, radius, spare, out=radius).mul_(-2.0).sqrt_()
        odd.sub_(1 << 31)
        y[0].copy_(odd[1])
        y[1].copy_(odd[0])
        y.add_(0.5).mul_(2.0**-31)
        # phi = pi y: cos(phi) = sin(pi c) with c = 1/2 - |y|, sin(phi) = sign(y) sin(pi (1/2 - |c|)): both below a quarter turn
        torch.abs(y, out=c).neg_().add_(0.5)
        torch.abs(c, out=s).neg_().add_(0.5)
        torch.copysign(s, y, out=s)
        out = self._out[: 4 * lanes].view(lanes, 2, 2)
        torch.mul(c.mul_(math.pi).sin_(), radius, out=c)
        torch.mul(s.mul_(math.pi).sin_(), radius, out=s)
        out[:, :, 0].copy_(c.T)
        out[:, :, 1].copy_(s.T)
        return out.view(len(index), 4 * cols)


class Normals:
    """The normals of a batch in pieces: ``pieces`` lists (rows, columns) of the (B, n) elements, ``piece(i, key)`` makes the i-th.

    On the host NumPy makes them, which is the faster there and the very code of ``solvers.noise``; elsewhere torch. Keys come from
    ``keys``.

    Args:
        index: B sample indices, uint64.
        n: elements per sample.
        host: whether NumPy makes them; by default on a CPU.
    """

    def __init__(self, index: Any, n: int, device: torch.device, compute: torch.dtype = torch.float64, *, host: bool | None = None) -> None:
        self.index, self.n = index, n
        self.host = device.type == "cpu" if host is None else host
        self.device = device
        blocks = -(-n // 4)
        lanes = LANES * max(1, torch.get_num_threads()) if device.type == "cpu" else 1 << 22
        cols = blocks if self.host else -(-blocks // max(1, -(-blocks // lanes)))
        rows = max(1, lanes // cols)
        self.pieces = [
            (slice(i, min(i + rows, len(index))), slice(4 * j, min(4 * (j + cols), n)))
            for i in range(0, len(index), rows)
            for j in range(0, blocks, cols)
        ]
        if not self.host:
            self.names = torch.as_tensor(index.astype("int64"), device=device)
            self._philox = Philox(min(rows, len(index)) * cols, device, compute)

    def rename(self, index: Any) -> None:
        """Other samples, as many."""
        self.index = index
        if not self.host:
            self.names.copy_(torch.as_tensor(index.astype("int64")))

    def keys(self, addresses: Sequence[tuple[int, int, int]]) -> list[Any]:
        """What ``piece`` takes, one for each address. On a device they are views of one tensor, ``table``."""
        if self.host:
            return list(addresses)
        self.table = torch.tensor([round_keys(a) for a in addresses], dtype=torch.int64, device=self.device).view(-1, 21)
        return [row.unbind() for row in self.table]

    def piece(self, i: int, key: Any) -> Tensor:
        """Piece i as a (rows, columns) tensor, float64 from the host; overwritten by the next call elsewhere."""
        rows, columns = self.pieces[i]
        if self.host:
            h0, h1, h2 = key
            return torch.from_numpy(normals(self.index[rows], self.n, (h0, h1), h2))
        width = columns.stop - columns.start
        return self._philox.normals(self.names[rows], columns.start // 4, -(-width // 4), key)[:, :width]


class Brownian(BrownianNoise):
    """``solvers.noise.BrownianNoise`` made on the device of ``like``, without a trip to the host.

    Args:
        seed, shape, index, refine: as there.
        like: a floating-point tensor; the noise has its dtype and device.
        compute: float64, or float32 for devices that are slow in float64; by default what the device has (``widest``).

    Raises:
        TypeError: ``like`` is not a floating-point tensor; seed, shape or index as there.
    """

    def __init__(
        self,
        seed: int,
        shape: Sequence[int],
        index: Any = None,
        *,
        like: Tensor,
        refine: bool = False,
        compute: torch.dtype | None = None,
    ) -> None:
        if not (isinstance(like, Tensor) and like.is_floating_point()):
            raise TypeError(f"like = {like!r} must be a floating-point tensor")
        super().__init__(seed, shape, index.cpu().numpy() if isinstance(index, Tensor) else index, refine=refine)
        self.dtype, self.device, self.compute = like.dtype, like.device, compute or widest(like.device)
        with torch.inference_mode(False):
            self._source = Normals(self.index, math.prod(self.shape[1:]), self.device, self.compute)

    def __call__(self, s: Point, t: Point, part: int = 0) -> Tensor:
        """The unit normals of the interval between ``s`` and ``t``, in either direction; arguments and errors as ``BrownianNoise``."""
        if self.refine:
            address(self.seed, s, t)
            low, high = sorted((s.clock + 0.0, t.clock + 0.0))
            values: Any = self._increment(*_fixed_point(low, high))
        else:
            values = self._numbers(address(self.seed, s, t, part), self.dtype)
        return torch.as_tensor(values).view(self.shape).to(self.dtype)

    def take(self, rows: Any) -> Brownian:
        """The noise of the samples at these positions of the batch."""
        some = super().take(rows)
        like = torch.empty(0, dtype=self.dtype, device=self.device)
        return Brownian(self.seed, some.shape, some.index, like=like, refine=self.refine, compute=self.compute)

    def _numbers(self, where: tuple[int, int, int], dtype: torch.dtype | None = None) -> Tensor:
        source = self._source
        out = torch.empty((self.shape[0], source.n), dtype=dtype or self.compute, device=self.device)
        (key,) = source.keys([where])
        for i, (rows, columns) in enumerate(source.pieces):
            out[rows, columns] = source.piece(i, key)
        return out

    def _sum(self, terms: Iterable[tuple[int, float]]) -> Any:
        total = torch.zeros((self.shape[0], self._source.n), dtype=self.compute, device=self.device)
        for mid, coefficient in terms:
            what = struct.pack("<Q", self.seed) + mid.to_bytes(16, "little", signed=True)
            total.add_(self._numbers(words(b"cell", what)), alpha=coefficient)
        return total


def start(node: Node, shape: Sequence[int], seed: int, *, like: Tensor, index: Any = None, mean: Tensor | float = 0.0) -> Tensor:
    """alpha mean + sigma z: states at a node, z unit normals keyed by (seed, sample index) and apart from the noise of any interval.

    Args:
        shape: (B, ...); ``index``: B distinct sample indices, 0 … B - 1 by default. A share of a batch is made from its indices alone.
        like: a floating-point tensor; the states have its dtype and device.

    Returns:
        states of ``shape``, with the dtype and device of ``like``.
    """
    noise = Brownian(seed, shape, index, like=like)
    z = noise._numbers(words(b"start", struct.pack("<Q", noise.seed))).view(noise.shape).to(like.dtype)
    return node.alpha * mean + node.sigma * z

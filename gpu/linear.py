r"""The law of a linear process on a torch device: phase space and bridges, as ``analytic.process.linear`` has it.

    E[m | z_t] = Σ_k p(k | z_t) (μ_k + G_k (z_t − A_t μ_k)),   G_k = C_k A_tᵀ S_k^{-1},   S_k = A_t C_k A_tᵀ + Σ_t

The matrices of a node are made once, on the host and in float64, by the exact law; the device multiplies. Gradients in z are those of
these sums, by autograd.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from scorebed.analytic.process.linear import LinearLaw as Exact
from scorebed.solvers.model import predicts
from scorebed.solvers.process import Point
from scorebed.solvers.state import State, bare, parts


class LinearLaw:
    """``law`` with its sums on a device; states have its components, (..., d) each.

    Args:
        law: an ``analytic.process`` law, such as ``PhaseLaw``.
        device: where.
        dtype: float32 or float64, in which sums are formed; results come back in the state's.

    Raises:
        TypeError: another law.
        ValueError: another dtype.
    """

    def __init__(self, law: Exact, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        if not isinstance(law, Exact):
            raise TypeError(f"law is a {type(law).__name__}: give the law of a linear process, such as PhaseLaw")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype = {dtype}: give torch.float32 or torch.float64; states may have any floating type")
        self.law, self.d, self.dtype, self.device = law, law.d, dtype, torch.device(device)
        self._at = lru_cache(maxsize=256)(self._tensors)

    def _tensors(self, node: Point) -> tuple[Tensor, ...]:
        at = self.law._at(node)
        wanted = (at.means, at.precision, at.gain, at.log_weights, self.law.means)
        return tuple(torch.as_tensor(a, device=self.device).to(self.dtype) for a in wanted)

    def _shares(self, z: State, node: Point) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
        """(z − A μ_k, p(k | z), log p(z) without (2π), the tensors of the node)."""
        shape = getattr(parts(z)[0], "shape", ())
        for part in parts(z):
            if not (isinstance(part, Tensor) and part.is_floating_point() and part.shape[-1:] == (self.d,) and part.shape == shape):
                have = tuple(getattr(part, "shape", ()))
                raise ValueError(f"z has a component of shape {have}: give equal floating tensors (..., {self.d})")
        tensors = self._at(node)
        flat = torch.cat([part.reshape(-1, self.d).to(self.dtype) for part in parts(z)], 1)
        if flat.shape[1] != tensors[0].shape[1]:
            raise ValueError(f"z has {len(parts(z))} components, the process {tensors[0].shape[1] // self.d}")
        off = flat[:, None, :] - tensors[0]
        log = tensors[3] - 0.5 * torch.einsum("nki,kij,nkj->nk", off, tensors[1], off)
        return off, torch.softmax(log, 1), torch.logsumexp(log, 1), tensors

    def _split(self, rows: Tensor, z: State) -> State:
        like = parts(z)[0]
        return bare(tuple(column.reshape(like.shape).to(like.dtype) for column in rows.split(self.d, 1)))

    @predicts("denoised")
    def denoised(self, z: State, node: Point) -> State:
        """E[m | z_t], a tuple where the process gives several things."""
        off, share, _, (_, _, gain, _, ends) = self._shares(z, node)
        return self._split(share @ ends + torch.einsum("nk,kij,nkj->ni", share, gain, off), z)

    @predicts("score")
    def score(self, z: State, node: Point) -> State:
        """∇ log p_t(z), by components of the state."""
        off, share, _, (_, precision, _, _, _) = self._shares(z, node)
        return self._split(-torch.einsum("nk,kij,nkj->ni", share, precision, off), z)

    def log_prob(self, z: State, node: Point) -> Tensor:
        """log p_t(z), shape (...)."""
        _, _, log, tensors = self._shares(z, node)
        like = parts(z)[0]
        constant = 0.5 * tensors[0].shape[1] * float(torch.log(torch.tensor(2.0 * torch.pi, dtype=torch.float64)))
        return (log - constant).reshape(like.shape[:-1]).to(like.dtype)

r"""Exact scores of very many Gaussians on torch: a data set of 60,000 items in 3,072 dimensions, in batches, at the speed of matrix
products.

    denoised = Σ γ_k E[x0 | x, k],   γ_k ∝ exp l_k,   l_k = log w_k - log det C_k / 2 - q_k / 2,   q_k = r_k^T C_k^{-1} r_k,   r_k = x -
    alpha mu_k.

``mixture_parts.py`` writes l and the sums as matrix products. Components are taken in runs with a softmax that is corrected as the largest
l grows (Milakov & Gimelshein, arXiv:1805.02867), so that memory is bounded by ``memory`` and not by K × B.

The products form q as a difference of squares, whose round-off in a log-weight is about eps (R² + R |x|)/c, R the radius of the data and c
the least variance: harmless at large sigma, and ruinous at small sigma, where near-duplicates compete. Where that estimate passes a bound,
decided from the node alone, only the components within reach of the largest are kept, and their log-weights are computed again from their
residuals in float64. A state with very many of them is done with products in float64 instead.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.mixture_gradient import Differentiable, check_differentiable
from scorebed.gpu.mixture_parts import HALF_LOG_2PI, dense, full_rank, structure
from scorebed.gpu.noise import widest
from scorebed.solvers.model import pointwise, predicts
from scorebed.solvers.schedule import Node

_HARMLESS = {torch.float32: 2e-5, torch.float64: 1e-12}
"""Round-off of a log-weight below which products are good enough."""
_MARGIN = 8.0
"""How much larger than the estimate the round-off may be when leaders are looked for."""
_MOST = 256
"""Leaders per state, in the mean over the batch, beyond which products in float64 are the cheaper way."""
_FLOOR = {torch.float32: -60.0, torch.float64: -300.0}
"""Where log-weights are cut off on a CPU, against the largest: e^-60 shows nowhere, and products of subnormal numbers are 40 times
slower."""
_KEPT = threading.local()
"""The table of the last call, for each thread."""
_CLEAN = Node(t=0.0, alpha=1.0, sigma=0.0, lam=math.inf)


class GaussianMixture:
    """Σ_k weights_k N(means_k, covariances_k) in d dimensions, on a torch device.

    Args:
        weights: (K,), not negative, summing to 1 within 1e-6.
        means: (K, d).
        covariances: a number or (K,): isotropic variances; (K, d): diagonal; ``LowRank(factor (K, d, r), diagonal (K,
        d))``. dtype: float32 or float64, in which parameters are held and sums formed.
        device: where.
        memory: bytes that an evaluation may take, besides the parameters and the result.

    Raises:
        ValueError: shapes that do not match, nan or inf, weights that are no distribution, negative variances, full covariances, a
            device without float64.

    States x have shape (..., d) and any floating type; results come back in it. Gradients in x are those of the exact functions
    (``mixture_gradient.py``), once, and not for low-rank covariances; parameters have none.
    """

    def __init__(
        self,
        weights: Any,
        means: Any,
        covariances: Any,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        memory: int = 64 << 20,
    ) -> None:
        if dtype not in _HARMLESS:
            raise ValueError(f"dtype = {dtype}: give torch.float32 or torch.float64; states may have any floating type")
        self.dtype, self.device, self.memory = dtype, torch.device(device), int(memory)
        if widest(self.device) != torch.float64:
            raise ValueError(f"device = {device}: it has no float64, in which residuals are formed: give device='cpu'")
        if self.memory < 1 << 20:
            raise ValueError(f"memory = {memory!r}: give at least 2^20 bytes")
        self.means = torch.as_tensor(means, device=self.device).to(dtype).contiguous()
        given = torch.as_tensor(weights, dtype=torch.float64, device=self.device)
        if self.means.ndim != 2 or min(self.means.shape) < 1 or tuple(given.shape) != (len(self.means),):
            raise ValueError(f"means has shape {tuple(self.means.shape)} and weights {tuple(given.shape)}: give (K, d) and (K,), K, d >= 1")
        if not (bool(torch.isfinite(self.means).all()) and bool(torch.isfinite(given).all())):
            raise ValueError("means or weights has nan or inf entries")
        total = float(given.sum())
        if float(given.min()) < 0.0 or abs(total - 1.0) > 1e-6:
            raise ValueError(
                f"weights run from {float(given.min()):g} and sum to {total:.9g}: give weights that are not negative and sum to 1"
            )
        self.k, self.d = self.means.shape
        self.structure = structure(covariances, self.k, self.d, dtype, self.device)
        self._log_weights = (given / total).log_().clamp_(min=-1e30)
        # An origin amid the data makes the terms of q small; a copy is worth it only if it does.
        centre = torch.zeros(self.d, dtype=torch.float64, device=self.device)
        for part in self.means.split(4096):
            centre += part.double().sum(0)
        centre /= self.k
        size = math.sqrt(float(self._radii(centre.new_zeros(self.d)).square().mean()))
        moved = float(centre.norm()) > 0.5 * size
        self.centre = centre.to(dtype) if moved else torch.zeros(self.d, dtype=dtype, device=self.device)
        self._centred = self.means - self.centre if moved else self.means
        self.radius = float(self._radii(self.centre.double()).max())
        self.structure.see(self._centred)

    def _radii(self, centre: Tensor) -> Tensor:
        return torch.cat([(part.double() - centre).norm(dim=1) for part in self.means.split(4096)])

    @classmethod
    def from_exact(cls, exact: Any, **options: Any) -> GaussianMixture:
        """The same mixture as an ``analytic.GaussianMixture``, conditioned or tilted ones too; its parameters are rounded to ``dtype``.

        Full and rotated covariances become F F^T + δ I, δ the least eigenvalue of each and F of rank d.

        Returns:
            the GaussianMixture in ``dtype``, of the same components.
        """
        given = exact.covariances
        if hasattr(given, "basis") or getattr(given, "ndim", 0) == 3:
            given = full_rank(dense(given))
        return cls(exact.weights, exact.means, given, **options)

    @classmethod
    def from_data(cls, points: Any, bandwidth: float, **options: Any) -> GaussianMixture:
        """The exact law of a data set smoothed at a bandwidth: N(point, bandwidth² I) of equal weights, for items of any shape (n, …).

        Returns:
            the GaussianMixture of n equal components, isotropic.

        Raises:
            ValueError: a bandwidth that is negative or not finite.
        """
        if not (math.isfinite(bandwidth) and bandwidth >= 0.0):
            raise ValueError(f"bandwidth = {bandwidth!r} must be finite and not negative")
        data = torch.as_tensor(points)
        data = data.reshape(len(data), -1)
        return cls(torch.full((len(data),), 1.0 / max(1, len(data)), dtype=torch.float64), data, float(bandwidth) ** 2, **options)

    def __repr__(self) -> str:
        return f"GaussianMixture(k={self.k}, d={self.d}, {type(self.structure).__name__}, {self.dtype}, {self.device})"

    @predicts("denoised")
    @pointwise
    def denoised(self, x: Tensor, node: Node) -> Tensor:
        """E[x0 | x], shape (..., d); x / alpha where sigma = 0."""
        if node.sigma == 0.0:
            return x / node.alpha
        return self._value(x, node, "denoised")

    @predicts("score")
    def score(self, x: Tensor, node: Node) -> Tensor:
        """∇ log p_t(x), shape (..., d)."""
        return self._value(x, node, "score")

    @predicts("eps")
    def eps(self, x: Tensor, node: Node) -> Tensor:
        """E[eps | x] = -sigma ∇ log p_t(x), shape (..., d)."""
        return self._value(x, node, "score") * -node.sigma

    def log_prob(self, x: Tensor, node: Node | None = None) -> Tensor:
        """log p_t(x), shape (...); of the law itself without a node."""
        return self._value(x, node or _CLEAN, "log_prob")

    def images(self, shape: tuple[int, ...]) -> Any:
        """A denoiser of states (B, *shape), whose elements in C order are the d dimensions."""
        if math.prod(shape) != self.d:
            raise ValueError(f"shape = {shape} has {math.prod(shape)} elements, the mixture {self.d} dimensions")

        @predicts("denoised")
        def denoise(x: Tensor, node: Node) -> Tensor:
            return self.denoised(x.reshape(-1, self.d), node).view(x.shape)

        return denoise

    def roundoff(self, node: Node) -> float:
        """The estimated round-off of a log-weight formed by matrix products at this node."""
        alpha, c = node.alpha, node.alpha**2 * self.structure.least + node.sigma**2
        if c <= 0.0:
            raise ValueError(f"the mixture has no density at alpha = {node.alpha}, sigma = {node.sigma}: a variance is 0")
        eps = torch.finfo(self.dtype).eps / 2
        if self.dtype == torch.float32 and self.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest":
            eps = 2.0**-11  # TF32 and bfloat16 products
        spread = alpha * self.radius
        size = spread * (spread + 3.0 * math.sqrt(alpha**2 * self.structure.most + node.sigma**2))
        if not self.structure.common:  # |x|² W does not fall out
            size += spread**2 + self.d * (alpha**2 * self.structure.most + node.sigma**2)
        return eps * size / c

    def _value(self, x: Tensor, node: Node, kind: str) -> Tensor:
        """With a gradient where one is wanted."""
        if not (torch.is_grad_enabled() and isinstance(x, Tensor) and x.requires_grad):
            return self._evaluate(x, node, kind)
        check_differentiable(self)
        value: Tensor = Differentiable.apply(x, self, node, kind)
        return value

    @torch.no_grad()
    def _evaluate(self, x: Tensor, node: Node, kind: str) -> Tensor:
        if not (isinstance(x, Tensor) and x.is_floating_point() and x.ndim >= 1 and x.shape[-1] == self.d):
            raise ValueError(f"x has shape {tuple(getattr(x, 'shape', ()))}: give a floating-point tensor (..., {self.d})")
        if x.device != self.device:
            raise ValueError(f"x is on {x.device}, the mixture on {self.device}: they must be on one device")
        doubt = self.roundoff(node)
        flat = x.reshape(-1, self.d).to(self.dtype)
        out = flat.new_empty(flat.shape if kind != "log_prob" else flat.shape[:1])
        guarded = doubt > _HARMLESS[self.dtype]
        captured = self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        rows, run = self._chunks(len(flat), self.dtype)
        for i in range(0, len(flat), rows):
            here = flat[i : i + rows]
            if not guarded or (captured and self.dtype == torch.float64):
                out[i : i + rows] = self._products(here, node, kind, run)
            elif captured:  # no list whose length depends on values
                out[i : i + rows] = self._wide(here, node, kind)
            else:
                out[i : i + rows] = self._guarded(here, node, kind, run, doubt)
        return out.view(x.shape if kind != "log_prob" else x.shape[:-1]).to(x.dtype)

    def _chunks(self, n: int, dtype: torch.dtype) -> tuple[int, int]:
        """(states, components) at once: half of the memory for pairs, half for what is held per component."""
        numbers = self.memory // (2 * (8 if dtype == torch.float64 else 4))
        rows = max(1, min(n, 4096, numbers // (8 * self.d)))
        run = min(self.k, numbers // (rows * self.structure.pairs), 2 * numbers // self.structure.row if self.structure.row > 1 else self.k)
        return rows, max(1, run)

    def _table(self, size: int, dtype: torch.dtype) -> Tensor:
        """Memory for pairs of states and components, kept from call to call on a CPU, where new pages cost as much as a pass over them; one
        for each thread, and an ordinary tensor in inference mode too.

        Returns:
            uninitialised tensor of ``size`` entries on the mixture's device.
        """
        if self.device.type != "cpu":
            return torch.empty(size, dtype=dtype, device=self.device)
        kept: Tensor | None = getattr(_KEPT, "table", None)
        if kept is None or kept.dtype != dtype or len(kept) < size:
            with torch.inference_mode(False):
                kept = _KEPT.table = torch.empty(size, dtype=dtype)
        return kept[:size]

    def _products(self, x: Tensor, node: Node, kind: str, run: int, dtype: torch.dtype | None = None) -> Tensor:
        """Everything by matrix products, one run of components after the other."""
        dtype = dtype or self.dtype
        y = x.to(dtype) - node.alpha * self.centre.to(dtype)
        squares = y.square().sum(1)
        top = y.new_full((len(y), 1), -math.inf)
        mass = y.new_zeros((len(y), 1))
        sums: list[Tensor | None] = [None, None, None]
        table = self._table(len(y) * min(run, self.k), dtype)
        step = len(y) if self.device.type != "cpu" else max(1, (1 << 17) * torch.get_num_threads() // min(run, self.k))
        for i in range(0, self.k, run):
            rows = slice(i, min(i + run, self.k))
            part = self.structure.part(
                self._centred[rows].to(dtype), self._log_weights[rows], node.alpha, node.sigma, rows, kind == "score"
            )
            size = rows.stop - rows.start
            logs = part.log_weights(y, squares, table[: len(y) * size].view(len(y), size))
            higher, p = top.clone(), logs
            share = torch.empty_like(mass)
            for h in range(0, len(y), step):  # a few states at a time, so that the table is read once
                some, best = logs[h : h + step], higher[h : h + step]
                torch.maximum(best, some.amax(1, keepdim=True), out=best)
                some.sub_(best)
                if self.device.type == "cpu":
                    some.clamp_(min=_FLOOR[dtype])
                torch.sum(some.exp_(), 1, keepdim=True, out=share[h : h + step])
            shrink = (top - higher).exp_()
            mass.mul_(shrink).add_(share)
            top = higher
            if kind != "log_prob":
                for j, term in enumerate(part.sums(p, y)):
                    old = sums[j]
                    if term is not None:
                        sums[j] = term if old is None else old.mul_(shrink).add_(term)
        if kind == "log_prob":
            result = (top + mass.log())[:, 0]
            if self.structure.common:
                result -= 0.5 * squares / (node.alpha**2 * self.structure.least + node.sigma**2)
            return (result - self.d * HALF_LOG_2PI).to(self.dtype)
        v, a, e = sums
        assert v is not None
        assert a is not None
        return self._finish(y, node, kind, v.div_(mass), a.div_(mass), None if e is None else e.div_(mass)).to(self.dtype)

    def _finish(self, y: Tensor, node: Node, kind: str, v: Tensor, ab: Tensor, e: Tensor | None) -> Tensor:
        """Denoised or score from V, B or A, and E of the centred means."""
        alpha, variance = node.alpha, node.sigma**2
        if kind == "score":
            out = v.mul_(alpha).sub_(ab * y)
            return out if e is None else out.add_(e, alpha=alpha * alpha)
        out = v.mul_(variance).add_(ab * y)
        out += self.centre.to(out.dtype)
        return out if e is None else out.add_(e, alpha=alpha * variance)

    def _wide(self, x: Tensor, node: Node, kind: str) -> Tensor:
        """By products in float64."""
        rows, run = self._chunks(len(x), torch.float64)
        run = max(1, min(run, self.memory // (16 * self.d)))  # the means of a run are held once more
        out = [self._products(x[i : i + rows], node, kind, run, torch.float64) for i in range(0, len(x), rows)]
        return torch.cat(out)

    def _guarded(self, x: Tensor, node: Node, kind: str, run: int, doubt: float) -> Tensor:
        """With the leading components computed again, exactly."""
        y = x - node.alpha * self.centre
        squares = y.square().sum(1)
        reach = math.log(self.k) + (17.0 if self.dtype == torch.float32 else 38.0) + _MARGIN * doubt
        top = y.new_full((len(y),), -math.inf)
        table = self._table(len(y) * min(run, self.k), self.dtype)
        count = torch.zeros(len(y), dtype=torch.int64, device=self.device)
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        most = _MOST * len(y)
        crowded = torch.zeros(len(y), dtype=torch.bool, device=self.device)
        for i in range(0, self.k, run):
            rows = slice(i, min(i + run, self.k))
            size = rows.stop - rows.start
            part = self.structure.part(self._centred[rows], self._log_weights[rows], node.alpha, node.sigma, rows, kind == "score")
            logs = part.log_weights(y, squares, table[: len(y) * size].view(len(y), size))
            top = torch.maximum(top, logs.amax(1))
            leads = (logs >= (top - reach)[:, None]).logical_and_(~crowded[:, None])
            count += leads.sum(1)
            if int(count.sum()) > most:  # the crowded states go another way
                crowded |= count > most // len(y)
                leads &= ~crowded[:, None]
            state, pick = leads.nonzero(as_tuple=True)
            found.append((state, pick + i, logs[state, pick]))
        state, pick, rough = (torch.cat(column) for column in zip(*found, strict=True))
        stays = (rough >= (top - reach)[state]) & ~crowded[state]
        state, pick = state[stays], pick[stays]
        out = self._listed(x, node, kind, state, pick)
        if bool(crowded.any()):
            some = crowded.nonzero()[:, 0]
            if self.dtype == torch.float32:
                out[some] = self._wide(x[some], node, kind)
            else:
                out[some] = self._direct(x[some], node, kind)
        return out

    def _listed(self, x: Tensor, node: Node, kind: str, state: Tensor, pick: Tensor) -> Tensor:
        """Sums over a list of pairs (state, component), log-weights from residuals in float64."""
        held = self.d * (6 if self.structure.row == 1 else 8 + 4 * (self.structure.pairs - 1))
        block = max(1, self.memory // (16 * held))
        logs = torch.cat(
            [
                self._log_weights[k] - self.structure.exact(x[s].double(), self.means, k, node.alpha, node.sigma)
                for s, k in zip(state.split(block), pick.split(block), strict=True)
            ]
        )
        top = logs.new_full((len(x),), -math.inf).scatter_reduce(0, state, logs, "amax")
        p = (logs - top[state]).exp_()
        mass = p.new_zeros(len(x)).index_add_(0, state, p)
        if kind == "log_prob":
            return (top + mass.log() - self.d * HALF_LOG_2PI).to(self.dtype)
        p = (p / mass[state]).to(self.dtype)
        out = torch.zeros_like(x)
        for s, k, q in zip(state.split(block), pick.split(block), p.split(block), strict=True):
            out.index_add_(0, s, self.structure.terms(q, x[s], self.means, k, node.alpha, node.sigma, kind == "score"))
        return out

    def _direct(self, x: Tensor, node: Node, kind: str) -> Tensor:
        """Every component by its residual, state by state."""
        every = torch.arange(self.k, device=self.device)
        return torch.cat([self._listed(one[None], node, kind, torch.zeros_like(every), every) for one in x])

r"""The world of mixtures on the line in torch: Σ_k w_k N(m_k, v_k) as data, or the points that a generator makes, all v_k = 0.

At a level s the law is Σ_k w_k N(α m_k, α² v_k + σ²), with r_k(x) the share of component k at x:

    score = −Σ_k r_k (x − α m_k)/c_k²,     denoised = Σ_k r_k (m_k + α v_k (x − α m_k)/c_k²),     c_k² = α² v_k + σ².

The flow is that of ``analytic``, with its slope p_s(x)/p_t(f) on the way back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.analytic import GaussianMixture
from scorebed.gpu.losses.world import GaussianWorld, Time


class LineWorld(GaussianWorld):
    """Data of a mixture on the line, on a process; states (B, 1). ``mean`` and ``variance`` are those of the whole.

    Args:
        process: the schedule.
        weights, means, variances: (K,) each, tensors that may carry gradients.
        law: the same as a ``GaussianMixture``, where a flow is asked for.
    """

    def __init__(self, process: Any, weights: Any, means: Any, variances: Any, law: GaussianMixture | None = None) -> None:
        self.weights, self.means, self.variances = (torch.as_tensor(a, dtype=torch.float64) for a in (weights, means, variances))
        centre = (self.weights * self.means).sum()
        whole = (self.weights * (self.variances + (self.means - centre) ** 2)).sum()
        super().__init__(process, centre.detach()[None], whole.detach()[None])
        self.law = law
        self._known: dict[Any, tuple[Tensor, Tensor]] = {}  # a batch is asked for again by each gradient

    @classmethod
    def of(cls, process: Any, law: GaussianMixture) -> LineWorld:
        """The world of a mixture on the line."""
        return cls(process, law.weights, law.means[:, 0], np.asarray(law.covariances).reshape(-1), law)

    def _parts(self, x: Tensor, s: Time) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(log of the weighted densities, r, α, x − α m over c²), (B, K)."""
        alpha, sigma = self.at(s)
        square = alpha**2 * self.variances + sigma**2
        off = (x - alpha * self.means) / square
        logs = torch.log(self.weights) - 0.5 * off * off * square - 0.5 * torch.log(2 * math.pi * square)
        return logs, torch.softmax(logs, -1), alpha, off

    def log_prob(self, x: Tensor, s: Time) -> Tensor:
        return torch.logsumexp(self._parts(x, s)[0], -1, keepdim=True)

    def score(self, x: Tensor, s: Time) -> Tensor:
        _, share, _, off = self._parts(x, s)
        return -(share * off).sum(-1, keepdim=True)

    def denoised(self, x: Tensor, s: Time) -> Tensor:
        _, share, alpha, off = self._parts(x, s)
        return (share * (self.means + alpha * self.variances * off)).sum(-1, keepdim=True)

    def flow(self, x: Tensor, s: Time, t: Time) -> Tensor:
        key = (hash(x.detach().numpy().tobytes()), *(hash(torch.as_tensor(u).numpy().tobytes()) for u in (s, t)))
        if key not in self._known:
            self._known[key] = self._flow(x, s, t)
        end, slope = self._known[key]
        # the value of the flow, with its slope where x carries a gradient
        return end + slope * (x - x.detach())

    def _flow(self, x: Tensor, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        end, slope = np.empty(x.shape), np.empty(x.shape)
        times = [np.broadcast_to(torch.as_tensor(u, dtype=torch.float64).numpy(), x.shape)[:, 0] for u in (s, t)]
        for pair in np.unique(np.stack(times, 1), axis=0):
            here = (times[0] == pair[0]) & (times[1] == pair[1])
            state, (a, b) = x.detach().numpy()[here], (self.process.node(float(u)) for u in pair)
            assert self.law is not None
            end[here] = self.law.flow(state, a, b)
            slope[here] = np.exp(self.law.log_prob(state, a) - self.law.log_prob(end[here], b))[:, None]
        return torch.as_tensor(end), torch.as_tensor(slope)

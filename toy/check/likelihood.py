r"""``check_likelihood``: is an estimate of log p(x) by the probability flow right, and if not, which of its parts is wrong?

The estimate is a sum of a quadratic, a normaliser and two parts of the divergence, each known in closed form on products of mixtures
(``analytic.output.likelihood``). Regressed on them, a right one has the coefficients 1, 1 and the constant 0; a wrong one shows which part
was left out, doubled, or has the wrong sign. Discretisation is told from bias by refining.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.analytic.output.likelihood import LikelihoodParts, likelihood_parts
from scorebed.solvers import EDM, VP, Node, Schedule
from scorebed.solvers.grid import from_times
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings

Estimate = Callable[..., Any]
_SAMPLES, _REPEATS = 64, 8
_WITHIN = 0.02  # of a coefficient


class ExactModel:
    """What a candidate is handed: ``model(x, node)`` is E[x0 | x], ``model.vjp(x, node, v)`` is v·∂D/∂x, for NumPy arrays or torch tensors.

    On torch the model is a differentiable function, so that automatic differentiation gives the same product.
    """

    prediction = "denoised"

    def __init__(self, law: RotatedProduct) -> None:
        self.law, self.d = law, law.d

    def __call__(self, x: Any, node: Node) -> Any:
        rotation, parts = self._parts(x, node)
        return _stack([mean for mean, _ in parts], x) @ rotation.T

    def vjp(self, x: Any, node: Node, v: Any) -> Any:
        """v·∂D/∂x = R diag(alpha/sigma² Var[z_i | x]) Rᵀ v, of the shape of v."""
        rotation, parts = self._parts(x, node)
        return ((v @ rotation) * (node.alpha / node.sigma**2 * _stack([variance for _, variance in parts], x))) @ rotation.T

    def _parts(self, x: Any, node: Node) -> tuple[Any, list[tuple[Any, Any]]]:
        """The posterior mean and variance in each coordinate of the product, by the array's own operations."""
        rotation = _like(np.asarray(self.law.rotation), x)
        z, parts = x @ rotation, []
        for i, factor in enumerate(self.law.factors):
            w, m, v = (np.asarray(a, dtype=float).reshape(-1) for a in (factor.weights, factor.means, factor.covariances))
            total = node.alpha**2 * v + node.sigma**2
            gap = z[..., i, None] - _like(node.alpha * m, x)
            log = _like(np.log(w) - 0.5 * np.log(total), x) - gap**2 * _like(0.5 / total, x)
            gamma = _softmax(log)
            means = _like(m, x) + gap * _like(node.alpha * v / total, x)
            mean = (gamma * means).sum(-1)
            parts.append((mean, (gamma * (_like(v * node.sigma**2 / total, x) + (means - mean[..., None]) ** 2)).sum(-1)))
        return rotation, parts


def _like(values: np.ndarray, x: Any) -> Any:
    return x.new_tensor(values) if hasattr(x, "new_tensor") else values


def _softmax(log: Any) -> Any:
    if hasattr(log, "softmax"):
        return log.softmax(-1)
    e = np.exp(log - log.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _stack(parts: list[Any], x: Any) -> Any:
    if hasattr(x, "new_tensor"):
        import torch

        return torch.stack(parts, dim=-1)
    return np.stack(parts, axis=-1)


def _target() -> RotatedProduct:
    def line(weights: list[float], means: list[float], stds: list[float]) -> GaussianMixture:
        return GaussianMixture(weights, np.array(means)[:, None], np.square(stds)[:, None])

    turn = np.linalg.qr(np.random.default_rng(11).standard_normal((3, 3)))[0]
    return RotatedProduct(
        turn, [line([0.4, 0.6], [-0.9, 0.7], [0.3, 0.4]), line([1.0], [0.1], [0.7]), line([0.5, 0.5], [-0.5, 0.8], [0.5, 0.3])]
    )


def check_likelihood(
    estimate: Estimate, *, unit: str = "nats", library: str = "numpy", steps: tuple[int, ...] = (32, 64, 128), name: str | None = None
) -> Findings:
    """Hold an estimate of log p(x) against exact log-densities.

    Args:
        estimate: ``estimate(model, x, nodes) -> (n,)``: ``model(x, node)`` is E[x0 | x] and ``model.vjp(x, node, v)`` its product with the
            Jacobian; x of shape (n, d) lies at nodes[0], the data end; the prior at nodes[-1] is N(0, sigma² I). It may draw probes.
        unit: "nats", or "bpd" for −log₂ p/d without any constant of discretisation.
        library: "numpy" or "torch": the kind of array that the estimate is handed.
        steps: the numbers of steps of the runs; the finest one is judged.
        name: what the report calls it.

    Returns:
        ``Findings``; ``causes`` names the faults: "sum over probes not divided", "sign of the divergence", "prior term left out", "factor ½
        of g² left out", "normaliser of one dimension", "prior of unit variance", "change of variables left out", "bits for nats", ….

    Raises:
        TypeError: ``estimate`` is not callable.
        ValueError: an unknown unit or library.
    """
    if not callable(estimate):
        raise TypeError(f"estimate = {estimate!r} is not callable: give estimate(model, x, nodes)")
    for key, value, known in (("unit", unit, ("nats", "bpd")), ("library", library, ("numpy", "torch"))):
        if value not in known:
            raise ValueError(f"{key} = {value!r} is not known: give one of {', '.join(known)}")
    result = Findings(name or str(getattr(estimate, "__name__", type(estimate).__name__)), "likelihood")
    causes: list[list[str]] = []
    for title, schedule, start, end in (("VP", VP(), 0.02, 1.0), ("EDM", EDM(), 0.05, 40.0)):
        causes.append(_one(result, estimate, title, schedule=schedule, ends=(start, end), unit=unit, library=library, steps=steps))
    result.causes = list(dict.fromkeys(cause for found in causes for cause in found))
    return result


def _nodes(schedule: Schedule, ends: tuple[float, float], n: int) -> list[Node]:
    """From data to noise, uniform in lam but for jagged steps."""
    s, t = (schedule.node(end) for end in ends)
    lams = np.linspace(s.lam, t.lam, n + 1)
    return from_times(schedule, [s.t, *(schedule.at_lam(float(lam)).t for lam in lams[1:-1]), t.t])


def _one(
    result: Findings,
    estimate: Estimate,
    title: str,
    *,
    schedule: Schedule,
    ends: tuple[float, float],
    unit: str,
    library: str,
    steps: tuple[int, ...],
) -> list[str]:
    law = _target()
    s, t = (schedule.node(end) for end in ends)
    x = np.asarray(law.sample(_SAMPLES, np.random.default_rng(5), s))
    parts, model = likelihood_parts(law, x, s, t), ExactModel(law)
    scale = -1.0 / (law.d * math.log(2.0)) if unit == "bpd" else 1.0

    def run(n: int, copies: int = 1) -> np.ndarray:
        """The estimates for so many copies of the samples in one batch, (copies, n): probes of a fixed seed differ from copy to copy."""
        batch = np.tile(x, (copies, 1))
        if library == "torch":
            import torch

            given: Any = torch.from_numpy(batch)
        else:
            given = batch
        out = estimate(model, given, _nodes(schedule, ends, n))
        out = np.asarray(out.detach().numpy() if hasattr(out, "detach") else out, dtype=float)
        if out.shape != (copies * len(x),):
            raise ValueError(f"shape {out.shape} came back for {copies * len(x)} samples: give one number for each")
        return out.reshape(copies, len(x)) / scale

    try:
        pair, again = run(steps[-1], 2), run(steps[-1])
        if not np.allclose(pair[0], pair[1], rtol=1e-9, atol=1e-9):
            runs, coarse = run(steps[-1], _REPEATS), run(steps[0], _REPEATS).mean(0)
        elif not np.allclose(pair[0], again[0], rtol=1e-9, atol=1e-9):  # one probe for the whole batch, drawn at every call
            runs = np.concatenate([run(steps[-1]) for _ in range(_REPEATS)])
            coarse = np.mean([run(steps[0])[0] for _ in runs], axis=0)
        else:
            runs, coarse = pair[:1], run(steps[0])[0]
    except Exception as problem:
        result.findings.append(Finding(f"{title}: runs", "fail", "the estimate", f"{type(problem).__name__}: {problem}", "", "it raised"))
        return [f"{type(problem).__name__}"]
    mean = np.mean(runs, axis=0)
    if not np.isfinite(mean).all():
        result.findings.append(Finding(f"{title}: finite", "fail", "the estimate", "nan or inf", "finite", "not finite"))
        return ["not finite"]
    noise = float(np.mean(np.std(runs, axis=0, ddof=1))) if len(runs) > 1 else 0.0
    bias, drift = mean - parts.usual, float(np.sqrt(np.mean((mean - coarse) ** 2)))
    off = float(np.sqrt(np.mean(bias**2)))
    spread = float(np.std(parts.usual))
    allowed = 0.02 * spread + 4.0 * noise / math.sqrt(len(runs)) + 2.0 * drift
    tried = f"{_SAMPLES} samples, {steps[-1]} steps, exact log p" + (f", {len(runs)} runs" if len(runs) > 1 else "")
    measured = f"off by {off:.3g} nats (deviation of a run {noise:.2g})" if noise else f"off by {off:.3g} nats"
    kept = off <= allowed
    causes = [] if kept else _named(parts, mean, t, min(0.2, max(_WITHIN, 2.0 * drift / spread)), noise / math.sqrt(len(runs)))
    detail = f"the estimate is {', '.join(causes) or 'biased in a way that is not known'}"
    expected = f"within {allowed:.2g}"
    result.findings.append(judged(kept, f"{title}: log p", tried, measured, expected, detail))
    price = float(np.sqrt(np.mean(parts.error**2)))
    text = "the prior N(0, sigma² I) in place of the law at T; no fault of the estimate"
    result.findings.append(
        Finding(f"{title}: prior", "note" if price > 0.05 else "pass", "N(0, sigma² I) against p_T", f"{price:.2g} nats", "", text)
    )
    result.findings.append(
        Finding(f"{title}: steps", "pass", f"{steps[0]} against {steps[-1]} steps", f"{drift:.2g} nats apart", "discretisation")
    )
    return causes


def _named(parts: LikelihoodParts, mean: np.ndarray, t: Node, within: float, noise: float) -> list[str]:
    """What the regression on the parts says is wrong; coefficients are told apart to ``within``, and ``mean`` scatters by ``noise``."""
    d, right = _target().d, parts.normaliser - parts.expansion
    columns = np.stack([parts.square, parts.contraction, np.ones_like(parts.square)], axis=1)
    (a, b, c), *_ = np.linalg.lstsq(columns, mean, rcond=None)
    rest = mean - columns @ np.array([a, b, c])
    if float(np.std(rest)) > 0.05 * float(np.std(mean)) + 3.0 * noise:
        return ["no sum of the parts"]
    unit = float(a)
    if abs(unit) > 0.02 and abs(b / a - 1.0) < within and abs(unit - 1.0) > within:
        known = {
            "nats for bits per dimension": -d * math.log(2.0),
            "bits per dimension for nats": -1.0 / (d * math.log(2.0)),
            "divided by the dimension": 1.0 / d,
            "sign of log p": -1.0,
            "bits for nats": 1.0 / math.log(2.0),
        }
        return [next((cause for cause, factor in known.items() if abs(unit / factor - 1.0) < within), f"{unit:.3g} log p")]
    causes = []
    if abs(a) < within:
        causes.append("prior term left out")
    elif abs(a - t.sigma**2) < within * max(1.0, t.sigma**2) and abs(t.sigma**2 - 1.0) > 0.1:
        causes.append("prior of unit variance")
    elif abs(a - 2.0) < within:
        causes.append("factor ½ of the prior left out")
    elif abs(a - 1.0) > within:
        causes.append(f"prior term {a:.3g} times")
    if causes == ["prior of unit variance"]:
        return causes
    if abs(b) < within:
        causes.append("divergence left out")
    elif abs(b + 1.0) < within:
        causes.append("sign of the divergence")
    elif abs(b - 2.0) < 2.0 * within and abs(c - right) < 1.0 + 0.1 * abs(right):  # an undivided sum doubles the trace alone, and moves c
        causes.append("factor ½ of g² left out")
    elif b > 1.0 + within:
        causes.append("sum over probes not divided" if b > 1.5 else f"divergence {b:.3g} times")
    elif abs(b - 1.0) > within:
        causes.append(f"divergence {b:.3g} times")
    return causes or _constants(c - right, parts, d, t)


def _constants(constant: float, parts: LikelihoodParts, d: int, t: Node) -> list[str]:
    """Which constant is missing or too many."""
    two_pi = 0.5 * math.log(2.0 * math.pi)
    known = {
        "normaliser of the prior left out": -parts.normaliser,
        "2π of the normaliser left out": d * two_pi,
        "normaliser of one dimension": (d - 1) * 0.5 * math.log(2.0 * math.pi * t.sigma**2),
        "2π of one dimension": (d - 1) * two_pi,
        "change of variables left out": parts.expansion,
        "change of variables twice": -parts.expansion,
        "log sigma of the prior left out": d * math.log(t.sigma),
    }
    sizes = {cause: value for cause, value in known.items() if abs(value) > 0.05}
    best = min(sizes, key=lambda cause: abs(constant - sizes[cause]))
    return [best if abs(constant - sizes[best]) < 0.05 * max(1.0, abs(sizes[best])) else f"{constant:+.3g} nats"]

"""The findings of ``check_map``: each identity at pairs of nodes, and the error by (s, t)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.mixture import CLEAN
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import Node
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.check.map_causes import Seen, explain


@dataclass
class MapReport(Findings):
    """The result of ``check_map``.

    Attributes:
        times: (s, t) of each pair that was tried.
        errors: RMS distance from the exact map at each pair, in standard deviations of the law at t; empty without a law.
    """

    times: list[tuple[float, float]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


class MapCheck:
    """One model at pairs of nodes of one process."""

    def __init__(
        self,
        call: Callable[..., np.ndarray],
        process: Any,
        law: Any,
        kind: str,
        nodes: int,
        samples: int,
        tolerance: float,
        d: int,
        seed: int,
    ) -> None:
        self.call, self.process, self.kind, self.tolerance = call, process, kind, tolerance
        self.exact = None if law is None else FlowMap(law)
        first, last = process.node(process.t_max), process.node(max(process.t_min, 1e-3 * process.t_max))
        between = np.linspace(first.lam, last.lam, nodes)[1:-1]
        self.nodes = [first, *(process.at_lam(float(lam)) for lam in between), last]
        self.clean = process.node(0.0) if _noiseless(process) else CLEAN
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((samples, d))
        self.states = [math.hypot(n.alpha, n.sigma) * z if law is None else np.asarray(law.sample(samples, seed, n)) for n in self.nodes]
        self.space = getattr(law, "space", None)

    def pairs(self) -> list[tuple[int, Node]]:
        """(index of s, t): an endpoint ends at the data, a map at every later node."""
        n = len(self.nodes)
        if self.kind == "endpoint":
            return [(i, self.clean) for i in range(n)]
        return [(i, self.nodes[j]) for i in range(n) for j in range(i + 1, n)]

    def size(self, t: Node) -> float:
        """A standard deviation of the law at t."""
        if self.exact is None or self.space is not None:
            return math.hypot(t.alpha, t.sigma) if self.exact is None else 1.0
        law = self.exact.law
        return math.sqrt(t.alpha**2 * float(np.trace(law.covariance())) / law.d + t.sigma**2)

    def apart(self, a: np.ndarray, b: np.ndarray, t: Node) -> float:
        with np.errstate(all="ignore"):
            gap = (a - b) if self.space is None else np.asarray(self.space.distance(a, b))
            return float(np.sqrt(np.mean(np.square(gap)))) / self.size(t)

    def report(self, name: str) -> MapReport:
        out = MapReport(name, f"few-step map, {self.kind}, {type(self.process).__name__}")
        words = f"{len(self.states[0])} states at {self.nodes[0].t:.3g}"
        try:
            value = self.call(self.states[0], self.nodes[0], self.pairs()[0][1])
            alone = self.call(self.states[0][:2], self.nodes[0], self.pairs()[0][1])
        except Exception as raised:
            out.findings.append(
                Finding("runs", "fail", words, f"{type(raised).__name__}: {raised}", "states like x", "called as the kind says")
            )
            return out
        good = bool(np.isfinite(value).all())
        out.findings.append(judged(good, "runs", words, "finite" if good else "nan or inf", "finite"))
        if not good:
            return out
        off = self.apart(alone, value[:2], self.nodes[0])
        self.add(out, "batch", "two states alone, and among others", off, 1e-6, "a state's answer depends on the rest of its batch")
        self.boundary(out)
        if self.kind == "map":
            self.semigroup(out)
            self.slope(out)
        self.average(out)
        if self.exact is None:
            out.findings.append(Finding("error", "skip", "the exact map", "no law was given", "", "give law= for the error by (s, t)"))
        else:
            self.consistency(out)
            self.error(out)
        return out

    def add(self, out: MapReport, name: str, tried: str, off: float, bound: float, detail: str) -> None:
        out.findings.append(judged(off <= bound, name, tried, f"off by {off:.2g} standard deviations", f"<= {bound:.2g}", detail))

    def boundary(self, out: MapReport) -> None:
        if self.kind == "map":
            off = max(self.apart(self.call(x, n, n), x, n) for x, n in zip(self.states, self.nodes, strict=True))
            words = "f(x, s, s) against x"
        elif self.clean.sigma == 0.0 and self.clean is not CLEAN:
            with np.errstate(all="ignore"):
                off = self.apart(self.call(self.states[-1], self.clean, self.clean), self.states[-1], self.clean)
            words = "f(x, clean) against x"
        else:
            out.findings.append(Finding("boundary", "skip", "f(x, clean) against x", f"{self.process!r} ends before the data"))
            return
        self.add(out, "boundary", words, off if off == off else math.inf, self.tolerance, "a step of length zero moves the state")

    def semigroup(self, out: MapReport) -> None:
        n, worst = self.nodes, 0.0
        for i, j, k in ((0, 1, -1), (0, len(n) // 2, -1), (1, len(n) // 2, len(n) - 2)):
            if i < j < k % len(n):
                two = self.call(self.call(self.states[i], n[i], n[j]), n[j], n[k])
                worst = max(worst, self.apart(two, self.call(self.states[i], n[i], n[k]), n[k]))
        self.add(out, "semigroup", "f(f(x, s, u), u, t) against f(x, s, t)", worst, self.tolerance, "two steps end elsewhere than one")

    def _near(self, s: Node, h: float) -> Node:
        return self.process.node(min(s.t * (1.0 + h), self.process.t_max))

    def slope(self, out: MapReport) -> None:
        """∂_t f(x, s, t) at t = s against the velocity of the law, where there is one."""
        if self.exact is None or self.space is not None:
            return
        worst = 0.0
        for x, s in zip(self.states[1:], self.nodes[1:], strict=True):
            v = self.exact.velocity(x, s)
            worst = max(worst, float(np.sqrt(np.mean(np.square(self.own(x, s) - v)) / np.mean(np.square(v)))))
        detail = "in short steps it moves by another velocity than that of the flow"
        bound = max(1e-4, self.tolerance)
        out.findings.append(
            judged(worst <= bound, "velocity", "∂_t f at t = s against v(x, s)", f"off by {worst:.2g}", f"<= {bound:.2g}", detail)
        )

    def own(self, x: np.ndarray, s: Node) -> np.ndarray:
        """The map's own velocity, ∂_t f(x, s, t) at t = s, from two short steps on either side."""
        ends = [self._near(s, k) for k in (-2e-3, -1e-3, 1e-3)]
        a, b, c = (self.call(x, s, end) for end in ends)
        p, q, r = (end.t - s.t for end in ends)
        # the derivative at 0 of the parabola through the three
        return np.asarray(-(q + r) / ((p - q) * (p - r)) * a - (p + r) / ((q - p) * (q - r)) * b - (p + q) / ((r - p) * (r - q)) * c)

    def average(self, out: MapReport) -> None:
        """The identity of MeanFlow, (t − s) du/ds = u − v along v: that f does not change from x + h v at s + h."""
        if self.space is not None or (self.exact is None and self.kind == "endpoint"):
            return
        worst = 0.0
        for i, t in self.pairs():
            if i == 0 or self.nodes[i] == t:
                continue
            s, x = self.nodes[i], self.states[i]
            v = self.own(x, s) if self.exact is None else self.exact.velocity(x, s)
            h, total = 1e-4 * (s.t - t.t), 0.0 * x
            for k, w in ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)):
                total = total + w / 12.0 * self.call(x + k * h * v, self.process.node(s.t + k * h), t)
            worst = max(worst, float(np.sqrt(np.mean(np.square(total)))) / abs(h) * (s.t - t.t) / self.size(t))
        words = "(t − s) du/ds against u − v" if self.exact is not None else "the same with the map's own velocity"
        self.add(out, "average velocity", words, worst, max(1e-5, self.tolerance), "the identity of MeanFlow does not hold")

    def consistency(self, out: MapReport) -> None:
        assert self.exact is not None
        worst, t = 0.0, self.nodes[-1] if self.kind == "map" else self.clean
        first = self.call(self.states[0], self.nodes[0], t)
        for n in self.nodes[1:-1]:
            worst = max(worst, self.apart(self.call(np.asarray(self.exact(self.states[0], self.nodes[0], n)), n, t), first, t))
        self.add(out, "consistency", "f at points of one path", worst, self.tolerance, "points of one path are sent to different ends")

    def error(self, out: MapReport) -> None:
        assert self.exact is not None
        seen = []
        for i, t in self.pairs():
            s, x = self.nodes[i], self.states[i]
            value, exact = self.call(x, s, t), np.asarray(self.exact(x, s, t))
            out.times.append((s.t, t.t))
            out.errors.append(self.apart(value, exact, t))
            seen.append(Seen(x, s, t, value, exact, self.size(t)))
        worst = int(np.argmax(out.errors))
        words = f"{len(seen)} pairs, worst from {out.times[worst][0]:.3g} to {out.times[worst][1]:.3g}"
        self.add(out, "error", words, out.errors[worst], self.tolerance, "see .times and .errors")
        a, b = (
            np.concatenate([(getattr(o, k) - o.exact.mean(0)) / o.size for o in seen[: len(self.nodes) - 1]]) for k in ("value", "exact")
        )
        out.findings.append(
            Finding("spread", "note" if not out.passed else "pass", "of f(x) over that of the exact map", f"{a.std() / b.std():.3f}")
        )
        if not out.passed:
            self.name_it(out, seen)

    def name_it(self, out: MapReport, seen: list[Seen]) -> None:
        assert self.exact is not None
        causes = [f"{name}" for name, _ in explain(self.exact, self.process, self.kind, seen)] if out["error"].status == "fail" else []
        failed = {f.name for f in out.failures}
        if not causes and failed <= {"error", "velocity", "average velocity", "consistency", "spread"} and self.kind == "map":
            causes = ["a map of another flow"]  # it keeps boundary and semigroup, and is not this law's
        elif not causes and "boundary" in failed and max(out.errors) < out_of(out["boundary"]):
            causes = ["boundary not kept"]
        out.causes = causes or ["unknown: see which identities fail"]


def out_of(finding: Finding) -> float:
    """The number in what was measured."""
    return float(finding.measured.split()[2])


def _noiseless(process: Any) -> bool:
    try:
        return bool(process.node(0.0).sigma == 0.0)
    except ValueError:
        return False

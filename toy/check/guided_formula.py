"""What stands before the answers of the two models in a guide, read from answers that have nothing to do with the state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.findings import Findings
from scorebed.toy.problems.guided import GuidedProblem

Floats = np.ndarray
Made = Callable[..., Any]


@dataclass
class GuidedReport(Findings):
    """What ``check_guided`` found.

    Attributes:
        bias, discretisation, total: W1 from meant to the limit of small steps, from there to the output, and between the two ends.
    """

    bias: float = math.nan
    discretisation: float = math.nan
    total: float = math.nan

    @property
    def larger(self) -> str:
        """The larger part: "guidance bias" or "discretisation"."""
        return "guidance bias" if self.bias >= self.discretisation else "discretisation"

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {**super().as_dict(), "bias": self.bias, "discretisation": self.discretisation, "total": self.total, "larger": self.larger}


def formula(report: GuidedReport, make: Made, place: GuidedProblem, w: float) -> None:
    """Report (a, b) with D = a D_given + b D_null at several nodes, and the fault in them."""
    rng = np.random.default_rng(3)
    c, u, x = (rng.standard_normal((400, 1)) for _ in range(3))
    asked: list[Any] = []

    def given(x: Any, node: Any) -> Any:
        asked.append(node)
        return c

    read = []
    for node in place.nodes(8)[1:-1]:
        asked.clear()
        value = np.asarray(make(given, lambda x, node: u)(x, node))
        if value.shape != x.shape or not np.isfinite(value).all():
            report.findings.append(
                Finding("formula", "fail", "answers of random numbers", f"shape {value.shape}, or nan", f"shape {x.shape}")
            )
            report.causes.append("not finite")
            return
        if any(abs(other.lam - node.lam) > 1e-9 for other in asked):
            report.causes.append("model asked at the wrong node")
        rows = np.concatenate([c, u, x], 1)
        coefficients, *_ = np.linalg.lstsq(rows, value[:, 0], rcond=None)
        read.append((*coefficients, float(np.abs(value[:, 0] - rows @ coefficients).max())))
    a, b, on_x, rest = np.array(read).T
    if rest.max() > 1e-6:
        words = "not linear in the two answers: nothing to read"
        report.findings.append(Finding("formula", "note", "answers of random numbers", words, f"{w:g} D_c + {1.0 - w:g} D_u"))
        return
    causes = _causes(a, b, on_x, w, place.nodes(8)[1:-1])
    said = f"{_range(a)} D_c + {_range(b)} D_u" + (f" + {_range(on_x)} x" if np.abs(on_x).max() > 1e-9 else "")
    report.findings.append(
        judged(not causes, "formula", "answers of random numbers", said, f"{w:g} D_c + {1.0 - w:g} D_u", ", ".join(causes) or "")
    )
    report.causes += causes


def _range(values: Floats) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if high - low < 1e-6 else f"{low:.3g}…{high:.3g}"


def _causes(a: Floats, b: Floats, on_x: Floats, w: float, nodes: list[Node]) -> list[str]:
    def near(value: Any, wanted: Any) -> bool:
        return bool(np.allclose(value, wanted, atol=1e-6))

    if near(on_x, 0.0) and (near(a, w) and near(b, 1.0 - w)):
        return []
    alpha, sigma = (np.array([getattr(node, key) for node in nodes]) for key in ("alpha", "sigma"))
    known = {
        "scale is 1 + w": (1.0 + w, -w, 0.0),
        "scale is w − 1": (w - 1.0, 2.0 - w, 0.0),
        "given and null swapped": (1.0 - w, w, 0.0),
        "guidance ignored": (1.0, 0.0, 0.0),
        "null left out": (w, 0.0, 0.0),
        "sign of the difference": (2.0 - w, w - 1.0, 0.0),
        "eps left as it is and D mixed": (-w * alpha / sigma, -(1.0 - w) * alpha / sigma, 1.0 / sigma),
    }
    for cause, wanted in known.items():
        if all(near(value, right) for value, right in zip((a, b, on_x), wanted, strict=True)):
            return [cause]
    if not near(on_x, 0.0):
        return ["answers in different units"] if not near(a + b + on_x * alpha, 1.0) else []
    if not near(a + b, 1.0):
        return ["weights do not add up to 1"]
    return [] if not near(a, a[0]) else [f"scale is {float(a[0]):.3g}"]

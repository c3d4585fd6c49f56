"""Small pictures of the pages of methods, as SVG in the colours of the text: the region of stability, and error against evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from contourpy import contour_generator

from scorebed.solvers import Solver
from scorebed.toy.studies.stability import amplification

WIDE, HIGH, LEFT, LOW = 300, 220, 48, 36


def _svg(label: str, body: list[str]) -> str:
    text = "".join(body)
    return (
        f'<svg viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" aria-label="{label}" '
        f'font-size="11" fill="currentColor" stroke="none"><title>{label}</title>{text}</svg>'
    )


def _line(points: Sequence[tuple[float, float]], more: str) -> str:
    at = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{at}" fill="none" {more}/>'


def _text(x: float, y: float, said: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{said}</text>'


_PALE = 'stroke="currentColor" stroke-width="0.5" opacity="0.3"'
_BOLD = 'stroke="#3f7fbf" stroke-width="2"'


def convergence(nfe: Sequence[int], errors: Sequence[float], order: float) -> str:
    """Error against evaluations on logarithmic axes, and a dashed line with the slope of the claimed order."""
    x, y = np.log10(nfe), np.log10(errors)
    low, high = math.floor(y.min() - 0.1), math.ceil(y.max() + 0.1)

    def at(a: float, b: float) -> tuple[float, float]:
        across = (a - x[0]) / max(x[-1] - x[0], 1e-9)
        return LEFT + across * (WIDE - LEFT - 14), 12 + (high - b) / (high - low) * (HIGH - LOW - 12)

    body = []
    for k in range(low, high + 1):
        body += [_line([at(x[0], k), at(x[-1], k)], _PALE), _text(LEFT - 6, at(x[0], k)[1] + 4, f"1e{k}", "end")]
    for n, a in zip(nfe, x, strict=True):
        body += [_line([at(a, low), at(a, high)], _PALE), _text(at(a, low)[0], HIGH - LOW + 14, str(n))]
    slope = [(a, y[-1] + order * (x[-1] - a)) for a in np.linspace(x[0], x[-1], 30)]
    slope = [(a, b) for a, b in slope if b <= high]
    body.append(_line([at(a, b) for a, b in slope], 'stroke="currentColor" stroke-dasharray="4 3" opacity="0.6"'))
    body.append(_line([at(a, b) for a, b in zip(x, y, strict=True)], _BOLD))
    body += [f'<circle cx="{at(a, b)[0]:.1f}" cy="{at(a, b)[1]:.1f}" r="3" fill="#3f7fbf"/>' for a, b in zip(x, y, strict=True)]
    body.append(_text((LEFT + WIDE) / 2, HIGH - 6, f"evaluations; dashed: order {order:g}"))
    return _svg("RMS error against evaluations, three modes on the line", body)


def region(solver: Solver, length: float) -> str:
    """Where a step on dy/drho = lambda y does not grow, in the plane of z = lambda h; the real interval has this length."""
    left, right, top = 1.15 * length, 0.3 * length, 3.0 * length
    re, im = np.linspace(-left, right, 25), np.linspace(0.0, top, 31)
    inside = amplification(solver, re[None, :] + 1j * im[:, None] + 1e-6 * (1.0 + 1j)) <= 1.0
    top = max(0.2 * length, float(im[inside.any(axis=1)].max(initial=0.0))) + 0.2 * length
    re, im = np.linspace(-left, right, 47), np.linspace(0.0, top, 34)
    z = re[None, :] + 1j * im[:, None] + 1e-6 * (1.0 + 1j)  # off the axes, where roots may coincide
    lines = contour_generator(re, im, amplification(solver, z) - 1.0).lines(0.0)

    def at(a: float, b: float) -> tuple[float, float]:
        return 10 + (a + left) / (left + right) * (WIDE - 20), 12 + (top - b) / (2 * top) * (HIGH - LOW - 12)

    body = [_line([at(-left, 0), at(right, 0)], _PALE), _line([at(0, -top), at(0, top)], _PALE)]
    for line in lines:
        for sign in (1.0, -1.0):
            body.append(_line([at(a, sign * b) for a, b in line], _BOLD))
    body += [_text(at(-length, 0)[0], at(0, 0)[1] + 14, f"−{length:.3g}"), _text(at(0, 0)[0] + 6, at(0, 0)[1] + 14, "0", "start")]
    body.append(_text(WIDE / 2, HIGH - 6, "inside, errors do not grow; z = λ h"))
    return _svg("region of absolute stability", body)

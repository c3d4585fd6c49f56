"""The cases of ``pieces`` in the pack of vectors: inputs, right answers, envelopes and known-bad twins."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, Node, trace
from scorebed.solvers.noise import interval_key, kind_of
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.conform import pieces
from scorebed.toy.conform.faults import FAULTS

KNOWN = [
    [0] * 6,
    [0xFFFFFFFF] * 6,
    [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
]
"""Counters and keys of the known answers that the authors of Philox publish (Random123, kat_vectors)."""
ADDRESSES = [[0, 0, -4.5, -3.25], [7, 3, -1.0, 0.5], [2026, 2**32 + 5, 0.125, 2.0], [2**40 + 1, 11, 2.0, 4.605170185988092]]
"""(seed, index of the sample, lam of the interval's two ends)."""
GAUSSIANS = [[0.8, 0.05], [-1.5, 0.6], [0.25, 2.5]]
"""Mean and variance of the data of the end laws."""
TOKENS = 4
CHOSEN = {
    "absorbing": [(4, 0.9, 0.6), (4, 0.5, 0.3), (4, 0.7, 0.05), (2, 0.5, 0.3)],
    "uniform": [(0, 0.9, 0.6), (3, 0.5, 0.3), (1, 0.95, 0.4)],
}
"""(token, s, t) of the discrete steps, with alpha = 1 − t²; the mask is token 4."""


def started(method: str) -> Any:
    """The solver, begun by DDIM where it has a start."""
    solver = SOLVERS[method]
    return solver if solver.start is None else replace(solver, start=SOLVERS["ddim"])


def counters(address: Sequence[float], blocks: int) -> list[list[int]]:
    """The counters and keys of an address: the block of four normals, the index's low and high word, three words of a blake2b.

    Args:
        address: as in ``ADDRESSES``.
        blocks: how many.

    Returns:
        Rows (c0, c1, c2, c3, k0, k1), of which (c3, k0, k1) depend on the seed and the interval alone.
    """
    seed, index, low, high = int(address[0]), int(address[1]), *address[2:]
    k0, k1, stream = struct.unpack("<III", blake2b(interval_key(seed, low, high), digest_size=12, person=kind_of(0)).digest())
    return [[block, index & 0xFFFFFFFF, index >> 32, stream, k0, k1] for block in range(blocks)]


def _case(
    kind: str,
    name: str,
    method: str,
    inputs: Mapping[str, Any],
    answer: Callable[[str | None], Any],
    faults: Sequence[str],
    single: float = 2e-6,
    expected: Any = None,
) -> dict[str, Any]:
    """A case; ``single`` is the part of the largest number that single precision may be off, 0 for whole numbers."""
    right = np.asarray(answer(None) if expected is None else expected)
    scale = float(np.abs(right).max()) if single else 0.0
    within = {"float64": 1e-9 * scale, "float32": single * scale, "bfloat16": 2.0**-6 * scale}
    wrong = {fault: np.asarray(answer(fault)) for fault in faults}
    twins = {f: y.tolist() for f, y in wrong.items() if y.shape != right.shape or np.abs(y - right).max() > 4.0 * within["float32"]}
    return {"id": f"{kind}/{name}", "kind": kind, "method": method, **inputs, "expected": right.tolist(), "within": within, "twins": twins}


def noise() -> list[dict[str, Any]]:
    """Philox's words at known and at addressed counters, and the normals at the addressed ones."""
    rows = [row for address in ADDRESSES for row in counters(address, 2)]
    return [
        _case(
            *("noise", "words", "philox4x32-10", {"rows": KNOWN + rows}),
            lambda fault: [pieces.words(row, fault) for row in KNOWN + rows],
            *(list(pieces.WORD_FAULTS), 0.0),
        ),
        _case(
            *("noise", "normals", "box-muller", {"rows": rows, "addresses": ADDRESSES}),
            lambda fault: [pieces.normals_of(row, fault) for row in rows],
            list(pieces.NORMAL_FAULTS),
        ),
    ]


def coefficients(grids: Mapping[str, list[Node]]) -> list[dict[str, Any]]:
    """The weights of every step of three methods on every grid."""
    cases = []
    for clock, nodes in grids.items():
        levels = [[node.t, node.alpha, node.sigma, node.lam] for node in nodes]
        for method, faults in pieces.WEIGHT_FAULTS.items():

            def answer(fault: str | None, method: str = method, levels: Any = levels) -> Any:
                return pieces.weights(method, levels, fault)

            cases.append(_case("coefficients", f"{method}/{clock}", method, {"levels": levels}, answer, list(faults)))
    return cases


def laws(grids: Mapping[str, list[Node]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of the outputs, exact by ``analytic.output.moments``."""
    cases = []
    for clock, nodes in grids.items():
        levels = [[node.t, node.alpha, node.sigma, node.lam] for node in nodes]
        for method, known in FAULTS.items():
            faults = [*known, *(f for f in pieces.LAW_FAULTS if method == "ddpm" or f != "standard deviations added")]
            plan, expected = trace(started(method), nodes), []
            for m, v in GAUSSIANS:
                mean, covariance = moments(plan, GaussianMixture([1.0], [[m]], [v]))
                expected.append([float(mean[0]), float(np.sqrt(covariance[0, 0]))])

            def answer(fault: str | None, method: str = method, nodes: Any = nodes) -> Any:
                return [pieces.end_law(method, nodes, m, v, fault) for m, v in GAUSSIANS]

            inputs = {"levels": levels, "rows": GAUSSIANS}
            cases.append(_case("law", f"{method}/{clock}", method, inputs, answer, faults, 1e-5, expected))
    return cases


def steps(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of probabilities of the Euler and the ancestral step, under masks and under uniform noise."""
    cases = []
    for kernel, chosen in CHOSEN.items():
        fall = JumpProcess(TOKENS, kernel, "square").fall
        rows = [[x, fall.alpha(s), fall.alpha(t), s - t, fall.falls(s)] for x, s, t in chosen]
        p = rng.dirichlet(np.full(TOKENS, 0.8), size=len(rows)).tolist()
        for rule, left in (("euler", {"share of the new level"}), ("ancestral", {"rate of the forward process"})):
            name = f"{kernel}-{rule}"
            if rule == "ancestral":
                left |= (
                    {"mass of staying left out", "share of the new level"} if kernel == "uniform" else {"probabilities not renormalised"}
                )

            def answer(fault: str | None, name: str = name, p: Any = p, rows: Any = rows) -> Any:
                return [pieces.step_row(name, q, row, fault) for q, row in zip(p, rows, strict=True)]

            faults = [fault for fault in pieces.STEP_FAULTS if fault not in left]
            cases.append(_case("step", name, name, {"probabilities": p, "rows": rows}, answer, faults))
    return cases

"""What a roll-out's steps are, read from two runs on the same draws with other states and other answers of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Schedule
from scorebed.toy.check.rollout_candidate import Floats, Roller
from scorebed.toy.check.rollout_causes import StepRead, tau

D = 3
_FROM, _TO = -3.0, 3.0
"""λ of the first and the last node."""


def grids(place: Schedule, steps: int) -> tuple[list[Any], list[Any]]:
    """Long and short steps of λ by turns, on which formulas with their sigma at the other end are told apart; and each step in four."""
    lengths = np.where(np.arange(steps) % 2, 0.6, 1.4)
    lam = _FROM + (_TO - _FROM) * np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
    finer = np.interp(np.arange(4 * steps + 1) / 4.0, np.arange(steps + 1), lam)
    return [place.at_lam(float(one)) for one in lam], [place.at_lam(float(one)) for one in finer]


class NotRead(Exception):
    """A step that is not read, and why."""


class Answers:
    """A model whose answers have nothing to do with x: one array for each node, and a record of where it was asked."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.seed, self.shape = seed, shape
        self.asked: list[tuple[Floats, Any]] = []

    def of(self, node: Any) -> Floats:
        """The answer at a node."""
        key = round(node.lam * 1e6) & 0xFFFFFFFF
        return np.random.default_rng((self.seed, key)).standard_normal(self.shape)

    def __call__(self, x: Floats, node: Any) -> Floats:
        self.asked.append((x.copy(), node))
        return self.of(node)


def start(n: int, seed: int, d: int = D) -> Floats:
    """States (n, d)."""
    return np.random.default_rng(seed).standard_normal((n, d))


class Seen:
    """The steps of one run, read: (p, q, ς), the squares of the noise, the log-probabilities, and where the model was asked."""

    def __init__(self) -> None:
        self.steps: list[StepRead] = []
        self.squares: list[Floats] = []
        self.scale: list[float] = []
        self.elsewhere: list[tuple[Any, Any]] = []
        self.logs: Floats | None = None
        self.rest = 0.0


def read(roller: Roller, nodes: Sequence[Any], replayed: bool) -> Seen:
    """Every step of a run along the nodes; ``replayed``: whether two runs have the same draws.

    Returns:
        the Seen: steps, squares of the noise, log-probabilities, other questions.

    Raises:
        NotRead: a step of several evaluations, or one that is not linear.
    """
    runs, seen = [], Seen()
    for which in (0, 1):
        x = start(roller.samples, 20 + which)
        answers = Answers(30 + which, x.shape)
        runs.append((roller.run(answers, x, nodes, 7), answers))
    a, b = runs[0][0].states, runs[1][0].states
    seen.logs = runs[0][0].log_probs
    for i in range(len(nodes) - 1):
        s, t = nodes[i], nodes[i + 1]
        asked = [node for x, node in runs[0][1].asked if np.array_equal(x, a[i])]
        if len(asked) != 1:
            raise NotRead(f"the model is asked {len(asked)} times at the state of step {i}: a step of several evaluations is not read")
        at = asked[0]
        if abs(at.lam - s.lam) > 1e-9:
            seen.elsewhere.append((s, at))
        answer = [answers.of(at) for _, answers in runs]
        if replayed:
            rows, after = np.stack([(a[i] - b[i]).ravel(), (answer[0] - answer[1]).ravel()], 1), (a[i + 1] - b[i + 1]).ravel()
        else:
            rows, after = np.stack([a[i].ravel(), answer[0].ravel()], 1), a[i + 1].ravel()
        (on_x, on_d), *_ = np.linalg.lstsq(rows, after, rcond=None)
        noise = a[i + 1] - on_x * a[i] - on_d * answer[0]
        std, scale = float(np.sqrt(np.mean(noise**2))), t.alpha + t.sigma
        seen.rest = max(seen.rest, float(np.sqrt(np.mean((after - rows @ (on_x, on_d)) ** 2))) / scale if replayed else 0.0)
        seen.steps.append(StepRead(tau(s), tau(t), t.lam - s.lam, (on_x * s.alpha + on_d) / scale, on_x * s.sigma / scale, std / scale))
        seen.squares.append((noise**2).sum(1) / std**2 if std else (noise**2).sum(1))
        seen.scale.append(scale)
    if seen.rest > 1e-6:
        raise NotRead(f"a step is not linear in state, answer and draws: {seen.rest:.1e} is left")
    return seen

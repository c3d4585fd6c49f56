"""The search behind ``universal``: one course for many laws and networks at once, by gradient through each of them.

Σ_k share_k mean_s log |r_s| goes down over the numbers of the course, which all share, and over each one's own place, −log scale and
stretch. Each says what ``descent`` asks, g_s and c_s for the numbers of its form, and ``Course.slopes`` turns them into the course's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from scorebed.toy.tuning.course import Course
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.steps import Step, descend
from scorebed.toy.tuning.universal import SCALES, STRETCHES

Place = tuple[float, float]
"""(−log scale, stretch)."""


def fit(
    searches: Sequence[Descent],
    course: Course,
    places: Sequence[Place],
    *,
    shares: Sequence[float] | None = None,
    batch: int = 20,
    iterations: int = 80,
    seed: int = 0,
    say: Callable[[str], object] = lambda line: None,
) -> tuple[Course, list[Place]]:
    """The course and places whose mean log error is least, kept where held-out states say so.

    Args:
        searches: one for each law or network, with its states; on any schedules.
        course: where to begin.
        places: of each, where to begin.
        shares: of each in what goes down; None gives all the same.
        batch: states of each in a step.
        iterations: steps.
        seed: of the order of the states.
        say: called with a line about every look at the held-out states.

    Returns:
        (the best Course found, the places).

    Raises:
        ValueError: a first course that diverges somewhere, or leaves a range.
    """
    joint = _Joint(searches, course, np.ones(len(searches)) if shares is None else np.array(shares, dtype=float), batch, seed)
    theta = np.concatenate([course.free(), *map(np.array, places)])
    if not math.isfinite(score := joint.judge(theta)):
        raise ValueError("course: it diverges on some of the settings, or leaves their range: give another one, or other places")

    def looked(at: Step) -> None:
        say(f"{at.done}: log error {at.loss:.3f}, held out {at.score:.3f}, best {at.best_score:.3f}")

    return joint.split(descend(joint, theta, best=(theta, score), iterations=iterations, looked=looked))


def place(search: Descent, course: Course, most: int = 24) -> Place:
    """Where the course has the least mean log error, on some of the states of a search.

    Args:
        search: the states of a setting.
        course: what to place.
        most: states that are asked.

    Returns:
        one of ``SCALES`` × ``STRETCHES``.

    Raises:
        ValueError: it runs nowhere.
    """
    found: dict[Place, float] = {}
    for scale, stretch in product(SCALES, STRETCHES):
        at = (-math.log(scale), stretch)
        form = _form(search, course, at)
        gap = None if form is None else search.residuals(form, slice(0, most))
        if gap is not None:
            found[at] = float(np.mean(np.log(np.sqrt(np.mean(gap[0] ** 2, axis=1)) + 1e-300)))
    if not found:
        raise ValueError(f"search: the course leaves the range of {search.setting.name} at every scale and stretch")
    return min(found, key=lambda at: found[at])


def _form(search: Descent, course: Course, at: Place) -> Form | None:
    """The course at a place; None where its levels do not fit between the ends."""
    first, last = search.setting.ends
    try:
        return course.form(search.setting.schedule, first.t, last.t, scale=math.exp(-at[0]), stretch=float(at[1]))
    except (ValueError, OverflowError):
        return None


class _Joint:
    """All searches at once, as functions of one vector: the course's numbers and every place."""

    def __init__(self, searches: Sequence[Descent], course: Course, shares: np.ndarray, batch: int, seed: int) -> None:
        self.searches, self.course, self.batch, self.seed = searches, course, batch, seed
        self.shares, self.numbers = shares / shares.sum(), len(course.free())

    def split(self, theta: np.ndarray) -> tuple[Course, list[Place]]:
        return self.course.moved(theta[: self.numbers]), [(float(a), float(b)) for a, b in theta[self.numbers :].reshape(-1, 2)]

    def forms(self, theta: np.ndarray) -> list[Form] | None:
        """The form of each; None where one leaves its range."""
        course, places = self.split(theta)
        made = [form for s, at in zip(self.searches, places, strict=True) if (form := _form(s, course, at)) is not None]
        return made if len(made) == len(places) else None

    def judge(self, theta: np.ndarray) -> float:
        forms = self.forms(theta)
        return math.inf if forms is None else float(self.shares @ [s.judge(form) for s, form in zip(self.searches, forms, strict=True)])

    def tell(self, theta: np.ndarray, k: int, vectors: int) -> tuple[float, np.ndarray, np.ndarray] | None:
        """(mean log error, its slope, the mean of c cᵀ) over a batch of each; None where a run is not finite."""
        forms, (course, places) = self.forms(theta), self.split(theta)
        loss, slope, curve = 0.0, np.zeros(len(theta)), np.zeros((len(theta), len(theta)))
        for n, (search, at, share) in enumerate(zip(self.searches, places, self.shares, strict=True)):
            rng = np.random.default_rng([self.seed, n, k])
            rows = rng.choice(len(search.x), min(self.batch, len(search.x)), replace=False)
            found = None if forms is None else search.tell(forms[n], rows, vectors, rng)
            if found is None:
                return None
            first, last = search.setting.ends
            turn = course.slopes(search.setting.schedule, first.t, last.t, scale=math.exp(-at[0]), stretch=at[1])
            own = np.r_[: self.numbers, self.numbers + 2 * n, self.numbers + 2 * n + 1]
            seen = found[2] @ turn
            loss += share * float(found[0].mean())
            slope[own] += share * found[1].mean(0) @ turn
            curve[np.ix_(own, own)] += share * seen.T @ seen / max(1, len(seen))
        return loss, slope, curve

    def kept(self, theta: np.ndarray, move: np.ndarray) -> np.ndarray:
        """As far along a step as leaves all levels in order and inside."""
        for _ in range(8):
            if self.forms(theta + move) is not None:
                return theta + move
            move = 0.5 * move
        return theta

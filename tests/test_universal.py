"""Universal few-step methods: on members and families never used they beat the best of a race, and may not fall behind."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed import EDM, SOLVERS, VP, RectifiedFlow
from scorebed.analytic import GaussianMixture
from scorebed.toy.tuning.advise import SHORT, SHORT_GRIDS, advise, candidates, measured
from scorebed.toy.tuning.families import FAMILIES, TRAIN, member
from scorebed.toy.tuning.form import PARTS
from scorebed.toy.tuning.search import Search
from scorebed.toy.tuning.setting import named
from scorebed.toy.tuning.universal import bound, shares, universal
from scorebed.toy.tuning.universal_fit import fit
from scorebed.toy.tuning.universal_table import NUMBERS

BOUND = {
    5: {"products": 0.35, "mixtures": 0.5, "spectra": 0.2, "sheets": 0.3, "clusters": 0.75},
    6: {"products": 0.45, "mixtures": 0.5, "spectra": 0.3, "sheets": 0.5, "clusters": 0.4},
    8: {"products": 0.2, "mixtures": 0.4, "spectra": 0.1, "sheets": 0.2, "clusters": 0.45},
    10: {"products": 0.1, "mixtures": 0.2, "spectra": 0.1, "sheets": 0.1, "clusters": 0.3},
}
"""Of the best of the short list; when the numbers were made .25 .38 .08 .16 .62, .33 .37 .21 .37 .27, .11 .27 .05 .09 .31 and
.03 .09 .02 .05 .19."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("nfe", NUMBERS)
def test_members_never_used(family: str, nfe: int) -> None:
    setting = member(family, 50)
    x = setting.draw(80, 7)
    answer = setting.answer(x)
    best = advise(setting, nfe, methods=SHORT, grids=SHORT_GRIDS, states=24).best
    first, last = setting.ends
    ours = np.median(measured(setting, universal(nfe, setting.schedule, first.t, last.t), x, answer))
    assert ours <= BOUND[nfe][family] * np.median(measured(setting, best.plan, x, answer))


def test_levels_are_in_lam_and_follow_the_scale_of_the_data() -> None:
    """Data three times as large take the same course at lam - log 3; on another range the levels stay where the law changes."""
    law = GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.05, 0.1])
    large = GaussianMixture([0.4, 0.6], [[-3.0], [3.0]], [0.45, 0.9])
    end = EDM().at_lam(4.5)
    x = np.linspace(-2.0, 2.0, 7)[:, None] * EDM().node(80.0).sigma
    one = universal(8, EDM(), 80.0, end.t).run(law.denoised, x)
    three = universal(8, EDM(), 240.0, EDM().at_lam(4.5 - np.log(3.0)).t, scale=3.0).run(large.denoised, 3.0 * x)
    np.testing.assert_allclose(three, 3.0 * one, rtol=1e-9)
    setting = named("product2d")  # a rectified flow
    x = setting.draw(100, 5)
    first, last = setting.ends
    error = np.median(measured(setting, universal(8, setting.schedule, first.t, last.t), x, setting.answer(x)))
    assert error < 0.005, "with levels as shares of its own way .048"
    with pytest.raises(ValueError, match="beyond the ends"):
        universal(8, setting.schedule, first.t, last.t, scale=1e-3)
    with pytest.raises(ValueError, match="give a positive number"):
        universal(8, setting.schedule, first.t, last.t, scale=0.0)


def test_families_are_held_out() -> None:
    assert set(TRAIN) < set(FAMILIES)
    assert not set(TRAIN) & {"sheets", "clusters"}
    with pytest.raises(ValueError, match="family = 'nobody'"):
        member("nobody", 0)


@pytest.mark.parametrize("nfe", NUMBERS)
@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_they_run_on_any_schedule_and_keep_constants(nfe: int, schedule: VP | EDM | RectifiedFlow) -> None:
    plan = universal(nfe, schedule) if not isinstance(schedule, RectifiedFlow) else universal(nfe, schedule, 0.99, 0.01)
    assert plan.nfe == nfe
    s, t = plan.grid[0], plan.grid[-1]
    x = np.linspace(-1.0, 1.0, 5)[:, None]
    exact = (t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * 0.3
    np.testing.assert_allclose(plan.run(lambda y, node: np.full_like(y, 0.3), x), exact, atol=1e-9 * max(1.0, s.sigma))
    again = bound(shares(bound(NUMBERS[nfe], plan.grid[0].process, s.t, t.t)), plan.grid[0].process, s.t, t.t).plan()
    np.testing.assert_allclose(again.output, plan.output, atol=1e-9)


def test_advice_races_them(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = member("products", 60)
    monkeypatch.setattr("scorebed.toy.tuning.advise.methods_on", lambda: {"ddim": SOLVERS["ddim"]})
    one = next(c for c in candidates(setting, 5) if c.method == "universal" and c.scale == 1.0)
    assert one.plan.nfe == 5
    assert "universal(5" in one.code
    with pytest.raises(ValueError, match="there are universal methods for"):
        universal(3, VP())


def test_a_fit_goes_down_on_all_members_at_once() -> None:
    searches = [
        Search(member(f, k), PARTS, states=40, held_out=20, seed=k, say=lambda line: None) for f in ("products", "spectra") for k in (0, 1)
    ]
    start = bound(NUMBERS[5], VP(), 1.0, VP().t_min)
    theta = start.free(PARTS)
    off = start.moved(PARTS, theta + 0.02 * np.random.default_rng(0).standard_normal(len(theta)))
    better = fit(searches, off, iterations=4)
    assert np.mean([s.judge(better) for s in searches]) < np.mean([s.judge(off) for s in searches]) - 0.3

"""Exact laws of guides on the line, by the transfer operator: against samples, against the posterior, and their limits."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed.solvers.inverse import METHODS, posterior
from scorebed.toy.measure.posterior_line import cdf_gap, line_law
from scorebed.toy.problems.inverse import INVERSE

LINE = INVERSE["line"]


@pytest.mark.parametrize("name", ["exact", "tmpd", "dps"])
def test_the_law_is_that_of_samples(name):
    found = line_law(name, LINE, 20)
    x = posterior(METHODS[name], LINE.conditioned, LINE.start_states(6000), LINE.nodes(20), 0)[:, 0]
    q = np.linspace(-2.0, 2.5, 60)
    assert np.abs(found.cdf(q) - (x[:, None] <= q).mean(0)).max() < 1.7 / np.sqrt(6000)  # Kolmogorov's 99 %
    assert found.weights.sum() == pytest.approx(1.0, abs=1e-9)


def test_the_exact_score_goes_to_the_posterior_at_first_order_and_moment_matching_does_not():
    exact, matched = ([cdf_gap(line_law(name, LINE, n), LINE) for n in (20, 40)] for name in ("exact", "tmpd"))
    assert exact[1] / exact[0] == pytest.approx(0.5, abs=0.06)
    assert exact[1] < 0.03
    assert matched[1] > 0.06
    assert matched[1] / matched[0] > 0.6


def test_a_sampler_without_a_guide_and_a_plane_are_refused():
    with pytest.raises(ValueError, match="has a loop of its own"):
        line_law("daps", LINE, 10)
    with pytest.raises(ValueError, match="one dimension"):
        line_law("exact", INVERSE["mixture2d"], 10)

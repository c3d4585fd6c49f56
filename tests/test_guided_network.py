"""Guidance on a network that was trained here, in seconds, beside guidance by the exact scores of its data: digits, a class of ten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scorebed import SOLVERS, VP, gpu, grid, sample
from scorebed.gpu.network.labelled import train_labelled
from scorebed.solvers.guide import CFG, Rule, guided
from scorebed.solvers.methods.steering.rules import APG, CFGZero, Rescaled
from scorebed.toy.studies.guided_network import BANDWIDTH, carried, digits, table

CLASS = 0


@pytest.fixture(scope="module")
def trained() -> tuple[Any, np.ndarray, np.ndarray]:
    place = digits()
    return train_labelled(place.data, place.labels, VP(), bandwidth=BANDWIDTH), place.data, place.labels


def spread(x: np.ndarray) -> float:
    return float(x.var(0).sum())


NODES = grid.uniform_lam(VP(), 14, 1.0, 0.02)
X = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rule", [CFG(3.0), Rescaled(3.0, 0.7), APG(3.0, norm=2.0), CFGZero(3.0)], ids=lambda rule: type(rule).__name__)
def test_one_call_for_both_halves_is_the_rule_on_two_networks(trained: Any, rule: Rule) -> None:
    network = trained[0]
    both = gpu.run(SOLVERS["dpmpp_2m"], network.model(VP(), CLASS, rule), X[:16], NODES)
    apart = sample(SOLVERS["dpmpp_2m"], guided(network.model(VP(), CLASS), network.model(VP(), 10), rule), X[:16], NODES)
    torch.testing.assert_close(both, apart, rtol=0.0, atol=2e-3)


def test_guidance_narrows_a_network_and_the_exact_scores_of_its_data(trained: Any) -> None:
    """At scale 3 samples spread less, by the network and by exact scores; by these they also leave the class's mean, away from the other
    digits. A network of a few seconds is too narrow by itself, which guidance makes worse."""
    network, data, labels = trained
    own = data[labels == CLASS]
    away = own.mean(0) - data.mean(0)

    def beyond(samples: np.ndarray) -> float:
        """1 at the class's mean, 0 at that of all digits."""
        return float((samples.mean(0) - data.mean(0)) @ away / (away @ away))

    given, null = (gpu.GaussianMixture.from_data(part, BANDWIDTH) for part in (own, data))
    plain, strong = (np.asarray(sample(SOLVERS["dpmpp_2m"], guided(given.denoised, null.denoised, w), X, NODES)) for w in (1.0, 3.0))
    assert beyond(plain) == pytest.approx(1.0, abs=0.05)
    assert beyond(strong) > 1.1
    assert spread(strong) < 0.95 * spread(plain)
    of_network = [np.asarray(gpu.run(SOLVERS["dpmpp_2m"], network.model(VP(), CLASS, w), X, NODES)) for w in (1.0, 3.0)]
    assert beyond(of_network[0]) == pytest.approx(1.0, abs=0.4)
    assert spread(of_network[1]) < 0.8 * spread(of_network[0])


def test_the_study_tells_bias_from_steps_on_a_network(trained: Any) -> None:
    """By exact scores there is no bias at w = 1, and it grows with w; the network has one of its own; discretisation falls with the steps.
    Best of N by the ink costs the network what was wanted, the exact scores nothing."""
    rows, curves = table((1.0, 3.0), (5, 20), n=256, network=trained[0])
    bias = rows.drop_duplicates(["rule", "scale"]).set_index(["rule", "scale"]).bias
    assert bias["exact scores", 1.0] < 2.0 * rows.floor.max() < bias["exact scores", 3.0] < bias["network", 3.0]
    assert bias["network", 1.0] > 2.0 * bias["exact scores", 1.0]
    for _, part in rows.groupby(["rule", "scale"]):
        assert part.discretisation.iloc[1] < 0.6 * part.discretisation.iloc[0]
    by = curves.set_index(["method", "strength"])
    for name in ("exact scores", "network"):
        assert by.proxy[f"best of N, {name}"].is_monotonic_increasing
    lost = {name: by.true[f"best of N, {name}", 1] - by.true[f"best of N, {name}", 64] for name in ("exact scores", "network")}
    assert lost["network"] > 3.0 > 1.0 > lost["exact scores"]
    with pytest.raises(ValueError, match="scales from 1 on"):
        table((0.5,), (5,), n=8)


def test_what_was_meant_on_digits_is_the_tilt() -> None:
    """Draws of p_c, kept with probability P(c | x0)^{w−1}: their mean is that of p_c by self-normalised weights."""
    place = digits(8, bandwidth=0.8)  # other digits resemble it, under so much noise
    x = np.asarray(place.given.sample(3000, 0))
    weights = place.class_probability(x) ** 2.0
    assert weights.min() < 0.9
    kept = place.meant(3.0, 2000, 1)
    np.testing.assert_allclose(kept.mean(0) @ place.axes.T, (weights @ x / weights.sum()) @ place.axes.T, atol=0.15)
    assert carried(lambda x, node: x, SOLVERS["ddim"], 2, 3).shape == (3, 64)

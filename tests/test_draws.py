"""Draws of tokens in float32, beside what Gumbel noise of float32 cannot do; generators for values with an order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from scorebed.solvers.draws import categorical
from scorebed.solvers.process.generators import death_rates, embedding_rates, gaussian_rates, neighbour_rates
from scorebed.solvers.process.jump import JumpProcess


def measure(p: np.ndarray, k: int) -> float:
    """P(k), exactly: the length of the interval of u that chooses k, by bisection of its ends among the 2^53 numbers."""

    def below(value: int) -> int:
        low, high = 0, 2**53
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if int(categorical(p[None], np.array([middle * 2.0**-53]))[0]) >= value else (middle + 1, high)
        return low

    return (below(k + 1) - below(k)) * 2.0**-53


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_probabilities_are_right_to_the_last_bit_that_matters(dtype: type, library: str) -> None:
    p = np.array([1e-9, 0.25, 0.0, 0.7, 3e-12, 0.05 - 1e-9 - 3e-12], dtype=dtype)
    if library == "torch":
        torch = pytest.importorskip("torch")
        one = torch.tensor(p)
        u = np.random.default_rng(0).random(500)
        np.testing.assert_array_equal(categorical(one.expand(500, 6), u).numpy(), categorical(np.broadcast_to(p, (500, 6)), u))
        return
    exact = p.astype(np.float64) / p.astype(np.float64).sum()
    found = [measure(p, k) for k in range(6)]
    np.testing.assert_allclose(found, exact, rtol=0.0, atol=2.0**-51)
    assert found[2] == 0.0
    assert sum(found) == 1.0


def gumbel(logits: np.ndarray, u: np.ndarray) -> int:
    with np.errstate(all="ignore"):
        return int((logits - np.log(-np.log(u))).argmax())


def test_gumbel_noise_of_float32_cannot_draw_what_is_rare() -> None:
    """The control: whatever its 2^24 uniform numbers, a value of 1e-9 never wins; in float64 it does, as in ``categorical``."""
    logits = np.log([1e-9, 1.0 - 1e-9])
    most, least = 1.0 - 2.0**-24, 2.0**-24
    assert gumbel(logits.astype(np.float32), np.array([most, least], np.float32)) == 1
    assert gumbel(logits, np.array([1.0 - 2.0**-53, 0.5])) == 0
    assert categorical(np.exp(logits)[None].astype(np.float32), np.array([0.5e-9])).item() == 0


def test_gumbel_noise_at_u_equal_to_1_draws_what_is_impossible() -> None:
    """The control: float64 uniforms rounded to float32 can be 1, where the noise is infinite, and nan for what has a logit of −inf."""
    u = np.array([1.0 - 2.0**-30, 0.5]).astype(np.float32)
    assert u[0] == 1.0
    assert gumbel(np.array([-np.inf, 0.0], np.float32), u) == 0  # argmax takes the nan
    assert categorical(np.array([[0.0, 1.0]]), np.array([0.0])).item() == 1
    assert categorical(np.array([[0.0, 1.0]]), np.array([1.0 - 2.0**-53])).item() == 1


@pytest.mark.parametrize(
    "kernel", [gaussian_rates(4, 0.8), neighbour_rates(4), embedding_rates(np.random.default_rng(0).standard_normal((4, 2)), 2)]
)
def test_symmetric_generators_end_in_uniform_noise(kernel: tuple[tuple[float, ...], ...]) -> None:
    q = np.array(kernel)
    np.testing.assert_allclose(q, q.T)
    assert np.max(-np.diag(q)) == pytest.approx(1.0)
    process = JumpProcess(4, kernel, t_max=1.0 - 1e-14)
    late = process.forward(process.node(process.t_max))
    assert np.abs(late - 0.25).max() < 0.25
    np.testing.assert_allclose(late.sum(0), 1.0, atol=1e-12)  # doubly stochastic


def test_deaths_leave_binomial_counts() -> None:
    process = JumpProcess(5, death_rates(5))
    node = process.node(0.6)
    expected = [[binom.pmf(y, x, node.clock) for y in range(5)] for x in range(5)]
    np.testing.assert_allclose(process.forward(node), expected, atol=1e-13)


@pytest.mark.parametrize(
    "make",
    [lambda: gaussian_rates(3, 0.0), lambda: neighbour_rates(1), lambda: embedding_rates([[0.0], [1.0]], 2), lambda: death_rates(True)],
)
def test_generators_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be positive|at least 2|1 to S"):
        make()  # type: ignore[operator]

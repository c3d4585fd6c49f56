"""Stationary fields: bases, crops, tiles and pools against the dense covariance, the Wiener filter against the posterior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, VP, GaussianMixture, trace
from scorebed.analytic.gaussian.field import StationaryField, crop, dct, fourier, haar, planar, pool, rows, tiles
from scorebed.analytic.output.error import flow_rms
from scorebed.analytic.output.moments import moments
from scorebed.solvers.grid import uniform_lam

FIELDS = {
    "ring": StationaryField.power_law(12, 2.0),
    "odd ring": StationaryField.power_law(9, 1.0),
    "torus": StationaryField.power_law((4, 6), 3.0),
}


@pytest.mark.parametrize("name", FIELDS)
def test_the_covariance_is_a_convolution_with_these_eigenvalues(name: str) -> None:
    field = FIELDS[name]
    c = field.covariance()
    np.testing.assert_allclose(c, c.T, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(c), np.sort(field.variances), atol=1e-10)
    np.testing.assert_allclose(np.diag(c), 1.0, atol=1e-12)
    shifted = np.roll(np.arange(field.d).reshape(field.shape), 1, axis=0).ravel()
    np.testing.assert_allclose(c[np.ix_(shifted, shifted)], c, atol=1e-12)
    np.testing.assert_allclose(c[0].reshape(field.shape), field.autocovariance, atol=1e-12)


@pytest.mark.parametrize("name", FIELDS)
def test_the_filter_is_the_posterior_mean(name: str) -> None:
    field, node = FIELDS[name], VP().node(0.3)
    dense = GaussianMixture([1.0], np.zeros((1, field.d)), field.covariance()[None])
    x = np.random.default_rng(0).standard_normal((5, field.d))
    right = dense.denoised(x, node)
    np.testing.assert_allclose(field.denoised(x.reshape(5, *field.shape), node).reshape(5, -1), right, atol=1e-10)
    np.testing.assert_allclose(field.law().denoised(x, node), right, atol=1e-10)
    np.testing.assert_allclose(field.law().covariance(), field.covariance(), atol=1e-10)
    wrong = StationaryField(np.roll(field.spectrum[::-1], 1, 0) + 0.3)
    assert np.abs(wrong.denoised(x.reshape(5, *field.shape), node).reshape(5, -1) - right).max() > 1e-2


def test_samples_have_the_spectrum() -> None:
    field = FIELDS["torus"]
    x = field.sample(20_000, 1).reshape(20_000, -1)
    np.testing.assert_allclose(np.cov(x.T), field.covariance(), atol=0.05)


@pytest.mark.parametrize(("basis", "sides"), [(fourier, (8, 7)), (dct, (8, 5)), (haar, (8, 4))])
def test_bases_are_orthonormal(basis: Any, sides: tuple[int, ...]) -> None:
    for n in sides:
        np.testing.assert_allclose(basis(n).T @ basis(n), np.eye(n), atol=1e-12)
    both = planar(basis, sides)
    np.testing.assert_allclose(both.T @ both, np.eye(len(both)), atol=1e-12)


def test_fourier_diagonalises_and_haar_does_not() -> None:
    field = FIELDS["ring"]
    for basis, off in ((fourier, 0.0), (dct, 1.0), (haar, None)):
        if basis is haar:
            field = StationaryField.power_law(8, 2.0)
        b = basis(field.d)
        c = field.cross(b.T)
        size = np.abs(c - np.diag(np.diag(c))).max()
        assert size < 1e-10 if off == 0.0 else size > 1e-3
        np.testing.assert_allclose(np.trace(c), field.d, atol=1e-9)


def test_crops_tiles_and_pools() -> None:
    shape = (4, 6)
    picture = np.arange(24).reshape(shape)
    np.testing.assert_array_equal(crop(shape, (1, 2), (2, 3)), picture[1:3, 2:5].ravel())
    np.testing.assert_array_equal(crop(shape, (3, 5), (2, 2)), [23, 18, 5, 0])
    parts = tiles(shape, (2, 3), (1, 1))
    assert sorted(np.concatenate(parts)) == list(range(24))
    x = np.random.default_rng(0).standard_normal(24)
    np.testing.assert_allclose(pool(shape, 2) @ x, x.reshape(2, 2, 3, 2).mean((1, 3)).ravel())
    np.testing.assert_array_equal(rows(parts[0], 24) @ x, x[parts[0]])
    with pytest.raises(ValueError, match="does not divide"):
        tiles(shape, (3, 3))


def test_conditioning_and_cross_covariances() -> None:
    field = FIELDS["ring"]
    a, b = rows(np.arange(4), 12), pool((12,), 3)
    gain, left = field.given(a, b)
    joint = field.cross(np.vstack([a, b]))
    right = joint[:4, 4:] @ np.linalg.inv(joint[4:, 4:])
    np.testing.assert_allclose(gain, right, atol=1e-8)
    np.testing.assert_allclose(left, joint[:4, :4] - right @ joint[4:, :4], atol=1e-8)
    np.testing.assert_allclose(field.observed(b).covariance(), joint[4:, 4:], atol=1e-12)


def test_patches_that_see_everything_are_the_posterior_mean() -> None:
    field, node = FIELDS["torus"], VP().node(0.4)
    parts = tiles((4, 6), (2, 3))
    whole = [np.arange(24)] * len(parts)
    right = node.alpha * field.covariance() @ np.linalg.inv(node.alpha**2 * field.covariance() + node.sigma**2 * np.eye(24))
    np.testing.assert_allclose(field.patched(parts, whole)(node)[0], right, atol=1e-10)
    assert np.abs(field.patched(parts)(node)[0] - right).max() > 1e-3
    with pytest.raises(ValueError, match="leave out pixel"):
        field.patched(parts[:1])


def test_the_error_of_a_plan_on_a_field_is_that_of_its_spectrum() -> None:
    field, plan = FIELDS["torus"], trace(SOLVERS["dpmpp_2m"], uniform_lam(VP(), 6))
    x = field.law().sample(4000, 0, plan.grid[0])
    out = plan.run(field.law().denoised, x)
    measured = np.sqrt(np.mean((out - field.law().flow(x, plan.grid[0], plan.grid[-1])) ** 2))
    assert measured == pytest.approx(flow_rms(plan, field.variances), rel=0.05)
    np.testing.assert_allclose(np.cov(out.T), moments(plan, field.law())[1], atol=0.15)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: StationaryField([[[1.0]]]), "one or two axes"),
        (lambda: StationaryField([1.0, -1.0]), "none negative"),
        (lambda: StationaryField([1.0, float("nan")]), "finite"),
        (lambda: StationaryField([1.0, 2.0, 3.0]), "S\\(-f\\)"),
        (lambda: haar(6), "power of 2"),
    ],
)
def test_wrong_use_is_told(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()

"""Transfer: the targets, the rank correlation, that a network which is a mixture is predicted, and that nothing computed is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas.testing
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from typer.testing import CliRunner

import scorebed.toy.studies.transfer as module
from scorebed.gpu.mixture import GaussianMixture
from scorebed.solvers import SOLVERS, VP, BrownianNoise, Denoiser, Node, grid
from scorebed.toy.cli import main
from scorebed.toy.figures.transfer import figure
from scorebed.toy.foreign.named import method_of
from scorebed.toy.store.database import Store
from scorebed.toy.store.engines import Here
from scorebed.toy.store.files import StoreError
from scorebed.toy.store.tasks import run as carry_out
from scorebed.toy.studies.transfer import NETWORK, Study, eligible, reference, run_transfer, sides
from scorebed.toy.studies.transfer_rank import _weighted, agreement, chance, halves, spearman
from scorebed.toy.studies.transfer_runs import Reference, cases, end, pictures
from scorebed.toy.studies.transfer_targets import TARGETS, bandwidth, build, principal

SHAPE = (1, 4, 4)
FEW = ("ddim", "euler_t", "heun", "dpm_solver_2", "dpmpp_2m", "unipc_3", "ab2", "deis_tab2", "ipndm_4")
SMALL: dict[str, Any] = {"nfe": (6, 12), "n": 6, "draws": 64, "jobs": 1}


@dataclass
class Standin:
    """A network that is an exact mixture, and counts its calls."""

    name: str = "standin"
    shape: tuple[int, ...] = SHAPE
    centre: float = 0.0
    calls: int = 0
    schedule: VP = field(default_factory=lambda: VP(1.0, 1.0, t_min=1e-3, t_max=10.0))

    @cached_property
    def law(self) -> GaussianMixture:
        rng = np.random.default_rng(7)
        means = self.centre + rng.standard_normal((3, math.prod(self.shape)))
        return GaussianMixture(np.full(3, 1 / 3), means, np.array([0.3, 0.4, 0.5]) ** 2, dtype=torch.float64)

    @property
    def denoise(self) -> Denoiser:
        inner = self.law.images(self.shape)

        def counted(x: torch.Tensor, node: Node) -> torch.Tensor:
            self.calls += 1
            return inner(x, node)

        return counted

    def grid(self, n: int) -> list[Node]:
        return grid.uniform_lam(self.schedule, n)

    def start(self, n: int, seed: int = 0, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        noise = BrownianNoise(seed, (n, *self.shape), like=torch.zeros(1, dtype=dtype))
        return noise(self.schedule.node(self.schedule.t_max), self.schedule.node(self.schedule.t_min))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_transfer(Standin(), FEW, targets=["generic", "samples", "clusters"], out=tmp_path_factory.mktemp("study"), **SMALL)


def mean_of(study: Study, target: str, space: str = "state") -> Any:
    table = study.agreements
    return table[(table["target"] == target) & (table["space"] == space) & (table["budget"] == 0)].iloc[0]


# What is measured


def test_a_network_that_is_a_target_is_predicted_perfectly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same law on both sides has correlation 1, an interval of no width and no regret."""
    network = Standin()
    held = replace(TARGETS["generic"], make=lambda shape, seed, draws: ("itself", np.full(3, 1 / 3), network.law.means.numpy(), STDS**2))
    monkeypatch.setitem(TARGETS, "generic", held)
    found = run_transfer(network, FEW[:5], (6,), 3, ["generic"], tmp_path, jobs=1)
    for row in found.agreements.itertuples():
        assert (row.spearman, row.low, row.high, row.kendall, row.regret) == pytest.approx((1.0,) * 5, abs=1e-12)


STDS = np.array([0.3, 0.4, 0.5])


def test_targets_fitted_to_samples_of_a_mixture_predict_it(study: Study) -> None:
    """A law fitted to the network's own samples orders the solvers as the network does, where the network is a mixture."""
    for target in ("samples", "clusters"):
        found = mean_of(study, target)
        assert found["spearman"] >= 0.9, found
        assert found["low"] > 0.5
        assert found["regret"] < 1.1


def test_the_order_of_shuffled_names_is_not_predicted(study: Study) -> None:
    """The control: the network's own errors under permuted names correlate with it no more than chance, on average not at all."""
    rng = np.random.default_rng(0)
    errors = network_errors(study)
    budget = [key for key in errors if key[1] == 12]
    found = []
    for _ in range(40):
        order = rng.permutation(len(budget))
        shuffled = {key: errors[budget[i]] for key, i in zip(budget, order, strict=True)}
        found.append(agreement({k: errors[k] for k in budget}, shuffled, resamples=60)[0])
    assert abs(np.mean([a.spearman for a in found])) < 0.2
    assert np.mean([a.low <= 0.0 <= a.high for a in found]) > 0.8
    assert np.mean([abs(a.spearman) > chance(errors)[12] for a in found]) < 0.2


def network_errors(study: Study) -> dict[tuple[str, int], np.ndarray]:
    with Store(study.folder) as store:
        rows = [r.row for r in store.records("transfer") if r.row["target"] == NETWORK]
    return {(row["solver"], row["budget"]): np.array(row["state"]) for row in rows}


def test_errors_are_distances_from_a_reference_that_is_better_known(study: Study) -> None:
    """Errors fall with evaluations, and lie above the reference's own error, which is that of the refinement."""
    table = study.errors[study.errors["target"] == NETWORK]
    assert set(table["status"]) == {"ok"}
    wide = table.pivot(index="solver", columns="budget", values="state")
    assert (wide[12] < wide[6]).all()
    assert (table["state"] > 10.0 * table["reference_state"]).all()
    assert (table["reference_state"] < 1e-4).all()


def test_the_reference_is_where_a_finer_grid_goes(tmp_path: Path) -> None:
    """The estimate bounds the distance from an integration four times as fine by a method of another kind."""
    network = Standin()
    x = network.start(3, 0, dtype=torch.float64)
    (side,) = sides(network, [], 0, 3, 8)
    exact = Reference.of(carry_out([reference(side)], None, Here()).values[0][1])
    finer, _ = end(network, network.denoise, SOLVERS["rk4"], x, 4 * exact.steps)
    assert exact.settled
    assert 0.0 < float(np.sqrt(np.mean((exact.x - finer) ** 2))) <= exact.errors["state"] < 1e-4


def test_budgets_pay_for_start_up_and_the_last_evaluation() -> None:
    network = Standin()
    for case in cases(network, [method_of(name, SOLVERS) for name in DEFAULT], (5, 10, 20)):
        assert case.status != "ok" or 2 <= case.nfe <= case.budget, case
        assert (case.status == "dear") == (case.steps == 0)
    once = {c.solver.name: c for c in cases(network, [SOLVERS["heun"], SOLVERS["rk4"]], (4, 10))}
    assert (once["heun"].steps, once["heun"].nfe) == (4, 9)
    assert [c.status for c in cases(network, [SOLVERS["rk4"]], (4,))] == ["dear"]


DEFAULT = module.DEFAULT


def test_the_solvers_of_the_default_are_different_programs() -> None:
    """Equal programs are ranked once: all of the default differ at 12 evaluations and beyond."""
    found = cases(Standin(), [method_of(name, SOLVERS) for name in DEFAULT], (12, 20))
    assert [c.solver.name for c in found if c.status != "ok"] == []
    pair = cases(Standin(), [SOLVERS["ddim"], SOLVERS["dpmpp_1"]], (6,))
    assert [(c.status, c.message) for c in pair] == [("ok", ""), ("same", "the program of ddim")]


def test_stochastic_and_adaptive_methods_have_no_path_to_compare(tmp_path: Path) -> None:
    assert not {"ddpm", "dormand_prince", "geodesic_heun"} & eligible().keys()
    with pytest.raises(ValueError, match="'ddpm' not known"):
        run_transfer(Standin(), ["ddpm"], out=tmp_path, **SMALL)


def test_a_diverged_run_is_infinitely_wrong_and_ranks_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scorebed.solvers import solver

    @solver(order=1, reference="grows without bound", register=False)
    def wild(denoise: Denoiser, x: Any, s: Node, t: Node, carry: Any, noise: Any) -> tuple[Any, Any]:
        return 1e300 * x + 1e300 * denoise(x, s), carry

    monkeypatch.setitem(SOLVERS, "wild", wild)
    found = run_transfer(Standin(), ["ddim", "heun", "dpmpp_2m", "wild"], (8,), 2, ["generic"], tmp_path, jobs=1)
    lost = found.errors[found.errors["solver"] == "wild"]
    assert set(lost["status"]) == {"diverged"}
    assert np.isinf(lost["state"]).all()
    assert np.isfinite(found.agreements["spearman"]).all()


def test_pictures_are_in_units_of_their_own_range() -> None:
    """A picture does not change when state and reference are moved and stretched together, and nothing leaves [0, 1]."""
    rng = np.random.default_rng(0)
    like, x = rng.standard_normal((2, 3, *SHAPE))
    shown = pictures(x, like)
    assert shown.min() >= 0.0
    assert shown.max() <= 1.0
    np.testing.assert_allclose(pictures(5.0 * x - 2.0, 5.0 * like - 2.0), shown, atol=1e-12)
    assert np.ptp(shown) > 0.9


# What is said of the two orders


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(4, 12))
def test_spearman_is_that_of_scipy_and_blind_to_monotone_maps(seed: int, solvers: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, (2, 5, solvers)).astype(float)
    a[:, 0], b[:, 0] = 7.0, np.inf
    expected = [spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(spearman(np.exp(a), b), spearman(a, b), atol=1e-12)


def linked(solvers: int, states: int, link: float, seed: int) -> list[dict[tuple[str, int], np.ndarray]]:
    """Errors on two sides whose logarithms, over solvers, are normal with correlation ``link``."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((2, solvers))
    base[1] = link * base[0] + math.sqrt(1 - link**2) * base[1]
    return [{(f"s{i}", 10): np.exp(level + 0.1 * rng.standard_normal(states)) for i, level in enumerate(side)} for side in base]


def test_the_interval_covers_the_correlation_of_the_population() -> None:
    """Over many draws of 20 solvers the interval holds the population's rho, (6/π) asin(r/2), nearly as often as it says."""
    link = 0.7
    truth = 6.0 / math.pi * math.asin(link / 2.0)
    found = [agreement(*linked(20, 8, link, seed), resamples=200, seed=seed)[0] for seed in range(40)]
    assert np.mean([a.low <= truth <= a.high for a in found]) >= 0.8
    assert np.mean([a.high - a.low for a in found]) < 1.0
    assert abs(np.mean([a.spearman for a in found]) - truth) < 0.1


def test_a_reversed_order_has_correlation_minus_one_and_a_regret() -> None:
    network = {(f"s{i}", 10): np.full(4, 2.0**i) for i in range(6)}
    target = {key: 1.0 / value for key, value in network.items()}
    at, mean = agreement(network, target, resamples=50)
    assert (at.spearman, at.kendall, at.regret, at.pick) == pytest.approx((-1.0, -1.0, 32.0, "s5"))
    assert at.regret_low <= at.regret <= at.regret_high
    assert mean.budget == 0
    assert mean.spearman == pytest.approx(-1.0)


def test_halves_of_noise_disagree_and_halves_of_an_order_agree() -> None:
    rng = np.random.default_rng(3)
    noise = {(f"s{i}", 10): np.exp(rng.standard_normal(16)) for i in range(20)}
    assert abs(halves(noise)[10]) < 0.3
    assert halves({key: value * 10.0**i for i, (key, value) in enumerate(noise.items())})[10] > 0.95
    assert 0.35 < chance(noise)[10] < 0.55  # 0.447 for 20 solvers, by the tables of Spearman's rho


def test_gain_is_over_the_plain_target_and_nothing_over_itself() -> None:
    network, near = linked(12, 6, 0.95, 1)
    near = {key: np.full(6, value.mean()) for key, value in near.items()}
    far = {key: 1.0 / value for key, value in near.items()}
    mean = agreement(network, near, far, resamples=200)[-1]
    assert mean.gain == pytest.approx(2.0 * mean.spearman)
    assert 0.0 < mean.gain_low < mean.gain < mean.gain_high
    alone = agreement(network, near, near, resamples=200)[-1]
    assert (alone.gain, alone.gain_low, alone.gain_high) == (0.0, 0.0, 0.0)


def test_the_top_half_is_ranked_by_itself() -> None:
    """A target that knows good from bad and nothing else has a high correlation and none in the top half."""
    network = {(f"s{i}", 10): np.full(4, 2.0**i) for i in range(10)}
    order = [4, 3, 2, 1, 6, 0, 5, 7, 8, 9]
    target = {(f"s{i}", 10): np.full(4, 2.0 ** order[i]) for i in range(10)}
    found = agreement(network, target, resamples=50)[0]
    assert found.top == pytest.approx(0.0, abs=1e-12)
    assert found.spearman > 0.6


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_weights_stand_for_repeated_solvers(seed: int) -> None:
    """A weighted correlation is that of the list with each solver written as often as it was drawn."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 5, (2, 3, 9)).astype(float)
    weights = rng.multinomial(9, np.full(9, 1 / 9), size=3)
    for x, y, w, value in zip(a, b, weights, _weighted(a, b, weights), strict=True):
        written = spearman(np.repeat(x, w), np.repeat(y, w))
        assert math.isnan(value) if (w > 0).sum() < 3 or math.isnan(written) else value == pytest.approx(float(written), abs=1e-12)


def test_studies_of_unequal_size_are_not_compared() -> None:
    one, other = ({(f"s{i}", 10): np.arange(1.0, n + 1) for i in range(5)} for n in (3, 4))
    with pytest.raises(ValueError, match=r"\[3, 4\] initial states"):
        agreement(one, other)
    with pytest.raises(ValueError, match="more solvers"):
        agreement({("a", 5): np.ones(3)}, {("a", 5): np.ones(3)})


# The targets


@pytest.mark.parametrize(
    ("name", "shape"), [*((name, (1, 8, 8)) for name in TARGETS), ("digits", (3, 12)), ("patches", (2, 6, 4))], ids=str
)
def test_each_target_is_a_law_of_the_networks_shape(name: str, shape: tuple[int, ...]) -> None:
    """Denoising a clean state at little noise gives it back; a matched law has the draws' mean and spread; equal seeds, equal laws."""
    rng = np.random.default_rng(0)
    draws = 0.4 + 0.7 * rng.standard_normal((40, math.prod(shape)))
    target = build(name, shape, 3, draws)
    node = VP(1.0, 1.0).node(1e-7)
    x = target.mixture.means[:2].reshape(-1, *shape)
    assert float((target.denoise(node.alpha * x, node) - x).abs().max()) < 1e-2
    assert target.kind == TARGETS[name].kind
    if TARGETS[name].matched:
        means, variance = target.mixture.means.numpy(), target.mixture.structure.least
        assert np.allclose(means.mean(axis=0), draws.mean(axis=0), atol=1e-9)
        spread = np.mean((means - means.mean(axis=0)) ** 2)
        assert spread < np.mean((draws - draws.mean(axis=0)) ** 2) <= 1.001 * (spread + max(variance, target.mixture.structure.most))
    noisy = VP(1.0, 1.0).node(0.7)
    assert torch.equal(build(name, shape, 3, draws).denoise(x, noisy), target.denoise(x, noisy))


def test_the_bandwidth_is_the_likeliest_left_one_out() -> None:
    """On a Gaussian cloud in one dimension it lies near Silverman's; scaling the points scales it; a neighbour of h has less likelihood."""
    points = np.random.default_rng(0).standard_normal((300, 1))
    h = bandwidth(points)
    assert 0.5 < h / (1.06 * 300**-0.2) < 1.5
    assert bandwidth(3.0 * points) == pytest.approx(3.0 * h, rel=1e-3)

    def likelihood(width: float) -> float:
        kernel = np.exp(-0.5 * ((points - points.T) / width) ** 2) / width
        np.fill_diagonal(kernel, 0.0)
        return float(np.log(kernel.sum(axis=1)).sum())

    assert likelihood(h) > max(likelihood(0.9 * h), likelihood(1.1 * h))
    with pytest.raises(ValueError, match="copies"):
        bandwidth(np.ones((5, 2)))


def test_principal_axes_give_back_a_low_rank_covariance() -> None:
    rng = np.random.default_rng(0)
    factor = rng.standard_normal((6, 2))
    points = rng.standard_normal((40_000, 2)) @ factor.T + 0.1 * rng.standard_normal((40_000, 6)) + 3.0
    mean, found, rest = principal(points, 2)
    np.testing.assert_allclose(mean, 3.0, atol=0.05)
    np.testing.assert_allclose(found @ found.T + rest * np.eye(6), factor @ factor.T + 0.01 * np.eye(6), atol=0.1)
    assert rest == pytest.approx(0.01, rel=0.05)


def test_fitted_targets_need_draws() -> None:
    for name, recipe in TARGETS.items():
        if recipe.fitted:
            with pytest.raises(ValueError, match="at least 8"):
                build(name, SHAPE, 0, None)
    with pytest.raises(ValueError, match="not known; known: generic"):
        build("nothing", SHAPE, 0, None)


# What is kept


def test_a_stopped_study_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was lost of a study is computed again and nothing else, and it ends as the study that was not cut."""
    run: dict[str, Any] = {"solvers": FEW[:5], "nfe": (6,), "n": 3, "targets": ["generic"], "out": tmp_path, "draws": 8, "jobs": 1}
    whole = run_transfer(Standin(), **run)
    assert (whole.kept, whole.made) == (0, 10)
    with Store(tmp_path) as store:
        kept = [r for r in store.records("transfer") if r.row["target"] == NETWORK]
        store.delete([r.key for r in kept[:3]])
    network = Standin()
    again = run_transfer(network, **run)
    assert (again.kept, again.made) == (7, 3)
    pandas.testing.assert_frame_equal(again.errors, whole.errors)
    pandas.testing.assert_frame_equal(again.agreements, whole.agreements)
    third = Standin()
    run_transfer(third, **run)
    assert third.calls == 2  # the marks alone
    assert 2 < network.calls < 30


def test_a_longer_list_of_solvers_asks_for_what_is_missing_only(tmp_path: Path) -> None:
    """What was run stays; what was one program with another solver is run where that solver is no longer in the list."""
    run: dict[str, Any] = {"nfe": (6,), "n": 2, "targets": ["generic"], "out": tmp_path, "jobs": 1}
    five = ["dpmpp_1", "ddim", "heun", "ab2", "ipndm_2"]
    first = run_transfer(Standin(), five, **run).errors
    assert first[first["solver"] == "ddim"]["status"].tolist() == ["same", "same"]
    with pytest.raises(StoreError, match=r"errors\.csv is of another study \(solvers dpmpp_1\)"):
        run_transfer(Standin(), ["ddim", "heun", "ab2", "ipndm_2"], **run)
    again = run_transfer(Standin(), ["ddim", "heun", "ab2", "ipndm_2"], **run, force=True)
    assert set(again.errors["status"]) == {"ok"}
    assert (again.kept, again.made) == (6, 2)
    assert again.errors[again.errors["solver"] == "ddim"]["state"].tolist() == first[first["solver"] == "dpmpp_1"]["state"].tolist()
    pandas.testing.assert_frame_equal(run_transfer(Standin(), five, **run).errors, first)


def test_results_of_another_network_seed_or_batch_are_not_taken_up(tmp_path: Path) -> None:
    run: dict[str, Any] = {"solvers": FEW[:4], "nfe": (6,), "n": 2, "targets": ["generic"], "out": tmp_path, "jobs": 1}
    first = run_transfer(Standin(), **run).errors
    for network, changed in ((Standin(centre=0.5), {}), (Standin(), {"seed": 1}), (Standin(), {"n": 3})):
        found = run_transfer(network, **{**run, **changed, "force": True})
        assert network.calls > 80
        assert found.kept == 0
        assert not np.allclose(found.errors["state"], first["state"])


def test_a_reference_that_is_not_settled_is_refined_from_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (side,) = sides(Standin(), [], 0, 2, 8)

    def refined(last: int) -> tuple[Reference, int]:
        monkeypatch.setattr(module, "FINEST", last)
        with Store(tmp_path) as store:
            before = len(store._base.execute("SELECT key FROM rows").fetchall())
            found = Reference.of(carry_out([reference(side)], store, Here()).values[0][1])
            return found, len(store._base.execute("SELECT key FROM rows").fetchall()) - before

    monkeypatch.setattr(module, "FIRST", 8)
    (rough, levels), (fine, more) = refined(16), refined(2560)
    assert (rough.steps, rough.settled, levels) == (16, False, 2)
    assert fine.settled
    assert fine.steps == 16 * 2**more > 16
    assert fine.errors["state"] < rough.errors["state"]


def test_processes_give_the_same_tables(tmp_path: Path) -> None:
    run: dict[str, Any] = {"solvers": FEW[:4], "nfe": (6,), "n": 2, "targets": ["generic", "samples"], "draws": 8}
    one, two = (run_transfer(Standin(), **run, out=tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    pandas.testing.assert_frame_equal(one.errors, two.errors, rtol=0.0, atol=0.0)
    assert one.targets == two.targets


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n": 1}, "n = 1"),
        ({"nfe": ()}, "nfe = 0"),
        ({"nfe": (1,)}, "nfe = 1"),
        ({"draws": 3}, "draws = 3"),
        ({"targets": ["x"]}, "'x' not known"),
    ],
    ids=lambda one: str(one)[:20],
)
def test_bad_arguments_are_named(wrong: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run_transfer(Standin(), FEW, out=tmp_path, **{**SMALL, "targets": ["generic"], **wrong})


# What is shown


def test_the_figure_shows_the_winners_and_what_a_target_costs(study: Study) -> None:
    for space in ("state", "picture"):
        shown = figure(study, space)
        *races, cost, order = shown.axes
        assert [axis.get_title(loc="left") for axis in races] == ["network, 6 evaluations", "network, 12 evaluations"]
        for axis, budget in zip(races, SMALL["nfe"], strict=True):
            rows = study.best[study.best["budget"] == budget]
            assert [label.get_text() for label in axis.get_yticklabels()] == rows["solver"].head(8).tolist()
            assert rows["solver"].iloc[0] in shown.get_suptitle()
        mean = study.agreements[(study.agreements["space"] == space) & (study.agreements["budget"] == 0)]
        (dots,) = [line for line in cost.lines if line.get_marker() == "o"]
        assert list(dots.get_xdata()) == mean["regret"].tolist()
        assert [label.get_text() for label in cost.get_yticklabels()] == ["generic", "samples", "clusters"]
        assert len(order.lines) == 3


def test_the_winners_are_those_of_the_errors(study: Study) -> None:
    """The first of a budget has the least error, its ratio is 1 without width, and intervals hold what they are about."""
    network = study.errors[(study.errors["target"] == NETWORK) & np.isfinite(study.errors["state"])]
    for budget, rows in study.best.groupby("budget"):
        mine = network[network["budget"] == budget].set_index("solver")["state"]
        assert rows["error"].tolist() == sorted(rows["error"])
        assert rows["solver"].iloc[0] == mine.idxmin()
        assert np.allclose(rows["error"], mine[rows["solver"]])
        first = rows.iloc[0]
        assert (first["ratio"], first["ratio_low"], first["ratio_high"]) == (1.0, 1.0, 1.0)
        assert ((rows["low"] <= rows["error"]) & (rows["error"] <= rows["high"])).mean() > 0.8


def test_the_command_runs_on_the_galaxy_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three solvers and one target on the real network; four are needed for a correlation, and it says so."""
    monkeypatch.setattr("scorebed.toy.studies.transfer_runs.TOLERANCE", 1e-2)
    arguments = "--model galaxy-hsc-32 --solvers ddim dpmpp_2m heun --nfe 6 --n 2 --targets generic --jobs 1 --out"
    done = CliRunner().invoke(main, ["transfer", *arguments.split(), str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "too few solvers" in done.output
    assert "SOLVERS[" in done.output
    assert {"best.csv", "errors.csv", "transfer.png", "transfer.json", "store.sqlite"} <= {path.name for path in tmp_path.iterdir()}


def test_the_command_explains_itself_and_refuses() -> None:
    runner = CliRunner()
    helped = runner.invoke(main, ["transfer", "--help"])
    assert helped.exit_code == 0
    for option in ("--model", "--solvers", "--nfe", "--targets", "--out", "--seed", "--dark", "scorebed transfer --model"):
        assert option in helped.output
    for arguments, culprit in (
        ("--model x", "'x' not known"),
        ("--solvers ddpm", "'ddpm' not known"),
        ("--targets x", "'x' not known"),
        ("--nfe 1", "'1'"),
    ):
        refused = runner.invoke(main, ["transfer", *arguments.split()])
        assert refused.exit_code == 2
        assert culprit in " ".join(refused.output.replace("│", " ").split())

"""The study of guidance and its command: bias and discretisation apart, and one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed import VP
from scorebed.analytic.output.guided import guided_law
from scorebed.solvers.guide import guided
from scorebed.toy.cli import main
from scorebed.toy.figures.guided import bias_and_steps, laws
from scorebed.toy.measure.guided_plane import limit
from scorebed.toy.problems.guided import GUIDED, GuidedPlane, LineLaw, scales
from scorebed.toy.studies import hacking
from scorebed.toy.studies.guided import PLANE_RULES, table


def test_the_parts_behave() -> None:
    """Bias grows with the scale and knows no steps; discretisation halves as steps double; the triangle inequality holds."""
    rows = table("gaussian", solvers=("ddim",), scale=(1.0, 2.0, 4.0), steps=(20, 40))
    by_scale = rows[rows.steps == 20].sort_values("scale").bias.to_numpy()
    assert by_scale[0] < 0.01 < by_scale[1] < by_scale[2]
    for _, part in rows.groupby("scale"):
        assert part.bias.nunique() == 1
        assert part.discretisation.iloc[0] / part.discretisation.iloc[1] == pytest.approx(2.0, abs=0.25)
        assert (part.total <= part.bias + part.discretisation + 1e-9).all()
    assert len(bias_and_steps(rows).axes) == 1
    assert len(laws(GUIDED["gaussian"], ("ddim",), (1.0, 2.0), 5).axes) == 2


def test_what_was_meant_is_the_power_of_the_densities() -> None:
    place = GUIDED["gaussian"]
    law = place.meant(3.0)
    assert isinstance(law, LineLaw)
    precision = 3.0 / 0.25 - 2.0
    assert law.expect(lambda x: x) == pytest.approx(6.0 / precision, abs=1e-6)
    assert float(law.cdf(np.array([6.0 / precision]))[0]) == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="no finite mass"):
        place.meant(-2.0)
    with pytest.raises(ValueError, match="finite"):
        scales([float("nan")])
    with pytest.raises(ValueError, match="rules"):
        table("gaussian", rules=("apg",))


def test_in_the_plane_what_was_meant_is_sampled_evenly() -> None:
    """Points of p_c^w p_u^{1−w} have its moments: those of a Gaussian, and of a mixture's density by quadrature."""
    place, modes = GUIDED["plane"], GUIDED["modes"]
    assert isinstance(place, GuidedPlane)
    assert isinstance(modes, GuidedPlane)
    law, x = place.meant_law(3.0), place.meant_states(3.0, 2048)
    np.testing.assert_allclose(x.mean(0), law.mean(), atol=2e-3)
    np.testing.assert_allclose(np.cov(x.T), law.covariance(), atol=4e-3)
    axes, density, y = modes.mesh(), modes.meant_density(2.0), modes.meant_states(2.0, 2048)
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    for power in ((1, 0), (0, 1), (1, 1), (2, 0)):
        exact = float(axes[0] ** power[0] @ density @ axes[1] ** power[1]) * cell
        assert float(np.mean(y[:, 0] ** power[0] * y[:, 1] ** power[1])) == pytest.approx(exact, abs=6e-3)
    with pytest.raises(ValueError, match="no finite mass"):
        place.meant_density(-3.0)


def test_the_limit_in_the_plane_is_the_exact_law_of_the_guided_flow() -> None:
    """On Gaussians, direction by direction; and no other scale's."""
    place = GUIDED["plane"]
    assert isinstance(place, GuidedPlane)
    end = limit(place, guided(place.given.denoised, place.null.denoised, 3.0), "ddim")
    values, turn = np.linalg.eigh(place.given.covariance())
    mean = place.given.mean() @ turn
    for w, far in ((3.0, False), (2.0, True)):
        m, v = guided_law([(w, mean, values), (1.0 - w, 0.0, 1.0)], place.nodes(1)[0], VP().node(1e-6))
        off = np.abs((end @ turn).mean(0) - m).max() + np.abs((end @ turn).var(0) - v).max()
        assert (off > 0.05) == far, (w, off)
        assert far or off < 0.01


def test_rules_in_the_plane() -> None:
    """At w = 1 all but thresholding are at the floor; at 3 each has a bias, and discretisation that halves with the steps (the ends of an
    interval fall between nodes); APG is nearer to what was meant than CFG; rescaling, singular where the entries of a sample agree, takes
    more steps than any."""
    rows = (
        table("plane", tuple(PLANE_RULES), ("ddim",), scale=(1.0, 3.0), steps=(20, 40)).set_index(["rule", "scale", "steps"]).sort_index()
    )
    for rule in PLANE_RULES:
        once, strong = rows.loc[rule, 1.0], rows.loc[rule, 3.0]
        assert (once.bias.iloc[0] < 1.5 * once.floor.iloc[0]) == (rule != "thresholded")
        assert strong.bias.iloc[0] > 10.0 * strong.floor.iloc[0]
        assert (strong.total <= strong.bias + strong.discretisation + 1e-9).all()
        if rule not in ("rescaled", "interval"):
            assert strong.discretisation.iloc[0] / strong.discretisation.iloc[1] == pytest.approx(2.0, abs=0.4)
    bias, steps = rows.xs((3.0, 40), level=(1, 2)).bias, rows.xs((3.0, 40), level=(1, 2)).discretisation
    assert bias["apg"] < 0.9 * bias["cfg"]
    assert steps["rescaled"] > 1.5 * steps.drop("rescaled").max()


def test_proxies_are_hacked() -> None:
    """Every method gains of the proxy with its KL; the true reward rises, and falls again; the tilt gives most of the proxy for its KL, and
    the best of N draws what its law says."""
    rows = hacking.table((0.0, 1.0, 3.0, 8.0), (1, 4, 16, 64, 1024), steps=20, particles=256)
    for method, part in rows.groupby("method"):
        ordered = part.sort_values("strength")
        assert (np.diff(ordered.proxy) > 0.0).all(), method
        at, lost = hacking.hacked(part)
        assert 0.3 < at < 3.0, method
        assert lost > 0.1, method
    by = {method: part.sort_values("kl") for method, part in rows.groupby("method")}
    tilt = by["tilt"]
    assert tilt.kl.iloc[0] == pytest.approx(0.0, abs=1e-12)
    for kl, proxy in by["best of N"][["kl", "proxy"]].to_numpy()[1:4]:
        assert np.interp(kl, tilt.kl, tilt.proxy) < proxy + 0.25
    draws = np.asarray(hacking.data().sample(20000, 3))[:, 0]
    found = hacking.best_of_means(draws, hacking.true_reward(draws), (1, 4, 64)).set_index("strength")
    exact = by["best of N"].set_index("strength")
    for n in (1, 4, 64):
        assert found.proxy[n] == pytest.approx(exact.proxy[n], abs=0.05)
        assert found.true[n] == pytest.approx(exact.true[n], abs=0.05)
    small = hacking.best_of_means(np.array([3.0, 1.0, 2.0]), np.array([30.0, 10.0, 20.0]), (2, 3))
    np.testing.assert_allclose(small.proxy, [(2.0 + 3.0 + 3.0) / 3.0, 3.0])
    np.testing.assert_allclose(small.true, 10.0 * small.proxy)
    with pytest.raises(ValueError, match="3 draws"):
        hacking.best_of_means(np.zeros(3), np.zeros(3), (4,))


PLAIN = {"guided.csv", "guided-about.json", "guided.png", "guided.svg", "laws.png", "laws.svg"}


def test_the_command_writes_table_and_pictures(tmp_path: Path) -> None:
    run = ["guided", "--problem", "gaussian", "--solvers", "ddim", "--scales", "1", "3", "--steps", "5", "10", "--out", str(tmp_path / "g")]
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "g").iterdir()} == PLAIN
    assert len((tmp_path / "g" / "guided.csv").read_text().splitlines()) == 5
    plane = ["guided", "--problem", "plane", "--rules", "cfg", "apg", "--scales", "2", "--steps", "5", "10", "--out", str(tmp_path / "p")]
    result = CliRunner().invoke(main, plane)
    assert result.exit_code == 0, result.output
    assert "floor" in result.output
    assert {p.name for p in (tmp_path / "p").iterdir()} == PLAIN
    reward = ["guided", "--problem", "reward", "--scales", "0", "4", "--steps", "10", "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(main, reward)
    assert result.exit_code == 0, result.output
    assert {p.name for p in (tmp_path / "r").iterdir()} == {"hacking.csv", "hacking-about.json", "hacking.png", "hacking.svg"}
    bad = CliRunner().invoke(main, ["guided", "--problem", "digits", "--rules", "apg", "--out", str(tmp_path / "h")])
    assert bad.exit_code == 2
    bad = CliRunner().invoke(main, ["guided", "--rules", "apg", "--out", str(tmp_path / "h")])
    assert bad.exit_code == 2
    assert not (tmp_path / "h").exists()

"""torchdiffeq's integrators as baselines: the exact flow is met, every call counted, and they equal ours where they are the same method."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.gpu.network import blackbox
from scorebed.gpu.network.blackbox import METHODS, TORCHDIFFEQ, torchdiffeq_dopri5, torchdiffeq_rk4, torchdiffeq_solver
from scorebed.solvers import EDM, SOLVERS, VE, VP, Node, NotLinear, RectifiedFlow, Solver, sample, trace
from scorebed.solvers import grid as grids
from scorebed.solvers.methods.scipy_integrators import IntegratorFailed
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties.cases import jagged, modes
from scorebed.toy.properties.registry import black_box, chooses_steps

X = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
ADAPTIVE = [name for name, method in METHODS.items() if method.adaptive]
FIXED = [name for name, method in METHODS.items() if not method.adaptive]


class Model:
    """The mixture's denoiser as a network would be: torch in, torch out, its calls counted by itself."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def __call__(self, x: torch.Tensor, node: Node) -> torch.Tensor:
        assert isinstance(x, torch.Tensor)
        self.nodes.append(node)
        return torch.as_tensor(modes().denoised(x.double().numpy(), node)).to(x)


def run(solver: Solver, grid: list[Node], x: torch.Tensor = X) -> tuple[np.ndarray, int]:
    """The end state, and the calls that the model saw; ``sample`` must have counted the same."""
    model = Model()
    found = sample(solver, model, x, grid, terminal="none", record=True)
    assert found.nfe == len(model.nodes)
    assert isinstance(found.x, torch.Tensor)
    assert found.x.dtype == x.dtype
    return found.x.numpy(), found.nfe


def error(solver: Solver, grid: list[Node]) -> float:
    exact = modes().flow(X.numpy(), grid[0], grid[-1])
    return float(np.abs(run(solver, grid)[0] - exact).max())


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3"])
def test_adaptive_ones_reach_the_exact_flow(method: str) -> None:
    for schedule, ends in ((VP(), (0.9, 0.05)), (RectifiedFlow(), (0.05, 0.9))):
        grid = jagged(schedule, 1, *ends)
        errors = [error(torchdiffeq_solver(method, tol, tol), grid) for tol in (1e-4, 1e-8)]
        assert errors[0] < 5e-3
        assert errors[1] < 1e-7
        assert run(torchdiffeq_solver(method, 1e-8, 1e-8), grid)[1] > run(torchdiffeq_solver(method, 1e-4, 1e-4), grid)[1]


@pytest.mark.parametrize("method", ["fehlberg2", "adaptive_heun"])
def test_pairs_of_second_order_are_dear(method: str) -> None:
    grid = jagged(VP(), 1, 0.9, 0.05)
    assert error(torchdiffeq_solver(method, 1e-6, 1e-6), grid) < 2e-3
    assert run(torchdiffeq_solver(method, 1e-6, 1e-6), grid)[1] > run(torchdiffeq_solver("dopri5", 1e-6, 1e-6), grid)[1]


@pytest.mark.parametrize("method", ADAPTIVE)
def test_no_evaluation_leaves_the_step(method: str) -> None:
    """The end is the end of a step: past t_min there is no schedule, and an interpolated end has a lower order."""
    grid = jagged(VE(t_min=0.0), 1, 0.6, 0.0)
    model = Model()
    sample(torchdiffeq_solver(method, 1e-3, 1e-3), model, X, grid, terminal="none")
    times = [node.t for node in model.nodes]
    assert 0.0 <= min(times) < 1e-12
    assert max(times) == 0.6


@pytest.mark.parametrize(("method", "order"), [(name, METHODS[name].order) for name in FIXED if "adams" not in name])
def test_order_of_the_fixed_ones_on_the_grid(method: str, order: int) -> None:
    steps = (64, 128, 256)
    found = order_of(steps, [error(TORCHDIFFEQ[method], jagged(VP(), n, 0.9, 0.05)) for n in steps])
    assert found.inside(order), found


@pytest.mark.parametrize(("method", "options"), [("explicit_adams", {}), ("implicit_adams", {"rtol": 1e-13, "atol": 1e-13}), ("rk4", {})])
def test_order_of_the_fixed_ones_inside_one_step(method: str, options: dict[str, Any]) -> None:
    grid, steps = jagged(VP(), 1, 0.6, 0.2), (128, 256, 512)
    found = order_of(steps, [error(TORCHDIFFEQ[method](steps=n, **options), grid) for n in steps])
    assert found.inside(METHODS[method].order), found


@pytest.mark.parametrize(("method", "stages"), [("euler", 1), ("midpoint", 2), ("heun2", 2), ("heun3", 3), ("rk4", 4)])
def test_evaluations_of_the_fixed_ones(method: str, stages: int) -> None:
    assert run(TORCHDIFFEQ[method], jagged(VP(), 7, 0.9, 0.1))[1] == 7 * stages
    assert run(TORCHDIFFEQ[method](steps=3), jagged(VP(), 2, 0.9, 0.1))[1] == 6 * stages
    assert run(TORCHDIFFEQ[method](together=False), jagged(VP(), 2, 0.9, 0.1))[1] == 2 * stages * len(X)


@pytest.mark.parametrize(("method", "ours"), [("euler", "euler_t"), ("midpoint", "midpoint_t"), ("heun2", "heun_t")])
def test_the_same_method_is_the_same(method: str, ours: str) -> None:
    grid = jagged(VP(), 7, 0.9, 0.1)
    np.testing.assert_allclose(
        run(TORCHDIFFEQ[method], grid)[0], sample(SOLVERS[ours], modes().denoised, X.numpy(), grid, terminal="none"), rtol=1e-11, atol=1e-11
    )


def test_adams_bashforth_takes_one_evaluation_a_step_after_its_start() -> None:
    """Four stages in each of the first two steps; its order is 4, as that of the 3/8 rule, which pays four at every step."""
    grid = jagged(VP(), 1, 0.6, 0.2)
    assert run(TORCHDIFFEQ["explicit_adams"](steps=40), grid)[1] == 2 * 4 + 38


def test_a_batch_is_one_system_unless_told_otherwise() -> None:
    grid, tight = jagged(VP(), 1, 0.9, 0.05), torchdiffeq_solver("dopri5", 1e-4, 1e-4)
    alone = [run(tight(together=False), grid, one) for one in X.split(1)]
    apart, calls = run(tight(together=False), grid)
    np.testing.assert_allclose(
        apart, np.concatenate([x for x, _ in alone]), rtol=0.0, atol=1e-10
    )  # the model sees the whole batch: steps chosen apart grow its last bits
    assert calls == sum(nfe for _, nfe in alone)
    together, fewer = run(tight, grid)
    assert fewer < calls
    assert 1e-9 < np.abs(together - apart).max() < 0.3


def test_single_precision_and_other_shapes() -> None:
    grid = jagged(RectifiedFlow(), 1, 0.999, 0.05)  # 0.999 is not a float32: its rounding must not leave the schedule
    single, _ = run(torchdiffeq_dopri5, grid, X.float())
    double, _ = run(torchdiffeq_dopri5, grid)
    assert np.abs(single - double).max() < 1e-3
    one, _ = run(torchdiffeq_dopri5(together=False), grid, X[3])
    assert one.shape == (1,)

    def pictures(x: torch.Tensor, node: Node) -> torch.Tensor:
        return torch.tanh(x)

    x = torch.linspace(-1.0, 1.0, 24, dtype=torch.float64).reshape(2, 3, 2, 2)
    found = sample(torchdiffeq_dopri5, pictures, x, grid, terminal="none")
    flat = sample(torchdiffeq_dopri5, pictures, x.reshape(24), grid, terminal="none")
    torch.testing.assert_close(found.reshape(24), flat, rtol=1e-12, atol=1e-12)


def test_an_empty_step_is_the_identity() -> None:
    node = VP().node(0.4)
    for solver in TORCHDIFFEQ.values():
        assert solver.step(Model(), X, node, node, None, None)[0] is X


def test_they_stand_outside_the_registry_and_have_no_plan() -> None:
    for name, solver in TORCHDIFFEQ.items():
        assert solver.name == f"torchdiffeq_{name}" not in SOLVERS
        assert black_box(solver) == chooses_steps(solver) == solver.nonlinear
        with pytest.raises(NotLinear, match="torchdiffeq makes the steps"):
            trace(solver, jagged(VP(), 2, 0.9, 0.1))


def test_the_core_loads_no_torch() -> None:
    code = "import sys; from scorebed.solvers import SOLVERS; sys.exit('torch' in sys.modules or any('torchdiffeq' in n for n in SOLVERS))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blackbox, "MOST_STEPS", 500)
    grid = jagged(VP(), 1, 0.9, 0.05)
    with pytest.raises(ValueError, match="method = 'rk5' is not one of torchdiffeq's own: give one of dopri5"):
        torchdiffeq_solver("rk5")
    with pytest.raises(ValueError, match=r"rtol = -1\.0 and atol = 1e-05 must be positive"):
        torchdiffeq_solver("dopri5", rtol=-1.0)
    with pytest.raises(ValueError, match=r"atol = 0\.0 must be positive"):
        sample(torchdiffeq_dopri5(atol=0.0), Model(), X, grid)
    with pytest.raises(ValueError, match="steps = 0 must be an integer of at least 1"):
        sample(torchdiffeq_rk4(steps=0), Model(), X, grid)
    with pytest.raises(TypeError, match="x is a ndarray: give a torch tensor"):
        sample(torchdiffeq_dopri5, modes().denoised, X.numpy(), grid)
    with pytest.raises(TypeError, match="has no option rtol"):
        torchdiffeq_rk4(rtol=1e-3)
    with pytest.raises(IntegratorFailed, match="dopri5 gave up on the way from"):
        sample(torchdiffeq_dopri5, lambda y, node: 0.0 * y + float(np.sin(1e9 * node.t)) * 1e12, X, grid)


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_bfloat16_states_are_held_in_float32(method: str) -> None:
    """From sigma = 80 down, at default tolerances: an error of a few units of bfloat16 in some hundred calls; with registers of bfloat16 it
    was 90, in tens of thousands. Tolerances below round-off are the round-off."""
    law, nodes = modes(), grids.karras(EDM(), 1)
    x = (80.0 * torch.randn(8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(torch.bfloat16)
    truth = law.flow(x.double().numpy(), nodes[0], nodes[-1])
    model = Model()
    found = sample(TORCHDIFFEQ[method], model, x, nodes, terminal="none")
    assert found.dtype == torch.bfloat16
    assert np.abs(found.double().numpy() - truth).max() < 0.016  # one unit of bfloat16 at 2
    assert len(model.nodes) < 2000
    for dtype, tolerance in ((torch.float32, 1e-12), (torch.float64, 1e-18)):
        model = Model()
        sample(torchdiffeq_solver(method, tolerance, tolerance), model, X.to(dtype), jagged(VP(), 1, 0.5, 0.2), terminal="none")
        assert len(model.nodes) < 4000


@pytest.mark.parametrize("together", [True, False])
def test_conditions_stay_with_their_samples(together: bool) -> None:
    """By position, by ``take``, and guided: every sample goes to its own side."""
    labels = torch.arange(12) % 2
    at = (2.0 * labels - 1.0)[:, None].double()
    nodes = jagged(VP(), 3, 0.95, 0.02)
    x = torch.randn(12, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solver = torchdiffeq_dopri5(together=together)

    def placed(z: torch.Tensor, node: Node, mean: torch.Tensor) -> torch.Tensor:
        return mean + node.alpha * 0.05 / (node.alpha**2 * 0.05 + node.sigma**2) * (z - node.alpha * mean)

    truth = sample(SOLVERS["rk4"], lambda z, node: placed(z, node, at), x, jagged(VP(), 40, 0.95, 0.02))
    for denoise in (
        lambda z, node: placed(z, node, at[: len(z)]),
        gpu.guided(placed, at, -at, 1.0),
        gpu.wrap(lambda z, t, mean: placed(z, VP().node(float(t[0])), mean), VP(), "x0", per_sample={"mean": at}),
    ):
        found = sample(solver, denoise, x, nodes)
        torch.testing.assert_close(found, truth, rtol=1e-3, atol=1e-3)
        assert ((found > 0.0)[:, 0] == (labels == 1)).all()


def test_gradients_go_through() -> None:
    """By automatic differentiation, against differences."""
    nodes, x = jagged(VP(), 1, 0.9, 0.1), X.clone().requires_grad_()
    solver = torchdiffeq_solver("dopri5", 1e-9, 1e-9)

    def end(z: torch.Tensor) -> torch.Tensor:
        return solver.step(lambda y, node: torch.tanh(y), z, nodes[0], nodes[1], None, None)[0]

    (found,) = torch.autograd.grad(end(x).sum(), x)
    step = 1e-5
    torch.testing.assert_close(found, (end(X + step) - end(X - step)) / (2 * step), rtol=1e-5, atol=1e-6)

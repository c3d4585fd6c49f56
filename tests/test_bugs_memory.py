"""Who owns memory: networks that use one buffer or write on their input, noises that do, results that are kept. Every registered method, by
``sample`` and by ``Plan.run``, gives what a network with memory of its own gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from scorebed.solvers import SOLVERS, VP, BrownianNoise, Node, Solver, methods_on, sample, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.memory import own, version

GRID = uniform_lam(VP(), 5, end=0.02)
X, OTHER = np.random.default_rng(0).standard_normal((2, 4, 3))
FLAT = [s for s in methods_on().values() if s.space is None]


def bent(x: Any, node: Node) -> Any:
    return 0.6 * x + 0.3 * node.alpha * (torch if isinstance(x, torch.Tensor) else np).sin(2.0 * x)


class OneBuffer:
    """A network whose answer lies in the same memory at every call; ``seen``: torch counts the writes."""

    def __init__(self, seen: bool = True) -> None:
        self.seen = seen
        self.rooms: dict[Any, Any] = {}

    def __call__(self, x: Any, node: Node) -> Any:
        value = bent(x, node)
        room = self.rooms.setdefault(tuple(x.shape), own(value))
        if self.seen and isinstance(room, torch.Tensor):
            return room.copy_(value)
        np.asarray(room)[...] = np.asarray(value)
        return room


def writes(x: Any, node: Node) -> Any:
    value = bent(x, node)
    x *= 0.5
    return value


def in_place(x: Any, node: Node) -> Any:
    x *= 0.5
    return x


def half(x: Any, node: Node) -> Any:
    return 0.5 * x


NETWORKS: list[tuple[str, Callable[[], Any], Any]] = [
    ("one buffer", OneBuffer, bent),
    ("writes on its input", lambda: writes, bent),
    ("its input is its answer", lambda: in_place, half),
]


def ways(method: Solver) -> list[Callable[[Any, Any], Any]]:
    loop = [lambda network, x: sample(method, network, x, GRID, noise=1)]
    return loop if method.nonlinear else [*loop, lambda network, x: trace(method, GRID, "denoise").run(network, x, 1)]


@pytest.mark.parametrize("method", FLAT, ids=lambda s: s.name)
def test_networks_with_memory_of_their_own_kind_change_nothing(method: Solver) -> None:
    for what, network, alone in NETWORKS:
        for way in ways(method):
            x = X.copy()
            good, found = way(alone, X.copy()), way(network(), x)
            np.testing.assert_array_equal(found, good, err_msg=f"{method.name}: {what}")
            np.testing.assert_array_equal(x, X, err_msg=f"{method.name}: {what} changed the caller's state")


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "unipc_3", "dpmpp_3m_sde", "bogacki_shampine", "scipy_rk45"])
@pytest.mark.parametrize("inference", [False, True])
def test_the_same_in_torch_with_writes_that_torch_does_not_see(name: str, inference: bool) -> None:
    with torch.inference_mode(inference):
        for way in ways(SOLVERS[name]):
            good = way(bent, torch.tensor(X))
            for network in (OneBuffer(), OneBuffer(seen=False), writes):
                assert torch.equal(way(network, torch.tensor(X)), good)


def test_results_are_the_callers_own() -> None:
    """The next run does not change the last result, a record does not repeat one array, and the state given is not in the result."""
    network = OneBuffer()
    for way in ways(SOLVERS["ddim"]):
        first = way(network, X)
        kept = first.copy()
        way(network, OTHER)
        np.testing.assert_array_equal(first, kept)
    run = sample(SOLVERS["ddim"], network, X, GRID, record=True)
    assert len({d.tobytes() for d in run.denoised}) == len(run.denoised)
    run.xs[0][:] = 7.0
    assert X.max() < 7.0
    for way in ways(SOLVERS["ddim"]):
        assert not np.shares_memory(way(lambda x, node: X, X), X)


def test_a_noise_may_use_one_buffer() -> None:
    for name in ("dpmpp_3m_sde", "seeds_3", "ddpm"):
        plan, room, clean = trace(SOLVERS[name], GRID), np.empty_like(X), BrownianNoise(3, X.shape)

        def noise(s: Node, t: Node, room: np.ndarray = room, clean: BrownianNoise = clean) -> np.ndarray:
            room[...] = clean(s, t)
            return room

        np.testing.assert_array_equal(plan.run(bent, X, noise), plan.run(bent, X, clean))
        np.testing.assert_array_equal(sample(SOLVERS[name], bent, X, GRID, noise=noise), sample(SOLVERS[name], bent, X, GRID, noise=clean))


def test_what_a_callback_does_to_its_arrays_does_no_harm() -> None:
    def scribble(done: Any) -> None:
        done.x[...] = 0.0
        done.denoised[...] = 0.0

    found = sample(SOLVERS["dpmpp_2m"], bent, X, GRID, callback=scribble)
    np.testing.assert_array_equal(found, sample(SOLVERS["dpmpp_2m"], bent, X, GRID))


@pytest.mark.parametrize("way", [0, 1])
def test_arrays_of_another_arithmetic_are_refused(way: int) -> None:
    run = ways(SOLVERS["ddpm"])[way]
    masked = np.ma.masked_array(X, X > 0.5)
    with pytest.raises(TypeError, match="x is a masked array, and masked entries would stay behind"):
        run(bent, masked)
    with pytest.raises(TypeError, match=r"denoise\(x, node\) at step 0.* is a masked array"):
        run(lambda x, node: np.ma.masked_array(x, x > 0.5), X)
    with pytest.raises(TypeError, match=r"x is a numpy\.matrix"):
        run(bent, np.asmatrix(X))
    with pytest.raises(TypeError, match=r"noise\(s, t\) on .* is a masked array"):
        sample(SOLVERS["ddpm"], bent, X, GRID, noise=lambda s, t: np.ma.masked_array(X, X > 0.5))


def test_gradients_go_through_the_copies() -> None:
    x = torch.tensor(X, requires_grad=True)
    sample(SOLVERS["heun"], bent, x, GRID).sum().backward()
    assert x.grad is not None
    step, base = 1e-6, torch.zeros(4, 3, dtype=torch.float64)
    base[1, 2] = step
    up, down = (float(sample(SOLVERS["heun"], bent, x.detach() + sign * base, GRID).sum()) for sign in (1, -1))
    assert float(x.grad[1, 2]) == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_version_counts_what_torch_counts() -> None:
    x = torch.zeros(3)
    before = version(x)
    x.add_(1.0)
    assert version(x) != before
    with torch.inference_mode():
        assert version(torch.zeros(3)) is None
    assert version(np.zeros(3)) is None

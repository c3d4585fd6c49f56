"""``gpu.wrap``: networks of every parameterisation as one denoiser, on any schedule and dtype, in chunks, with conditions and guidance."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scorebed import gpu
from scorebed.gpu.network.wrap import Wrapped, compute_dtype, edm_denoiser, edm_numbers, wrap
from scorebed.gpu.network.wrap_table import TableSchedule, mismatch, rounding_cost
from scorebed.solvers import EDM, SCHEDULES, SOLVERS, VP, Node, RectifiedFlow, grid, predicts, sample, trace
from scorebed.solvers.model import from_denoised

MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.3, -1.2]], dtype=torch.float64)
VARIANCE = 0.04


def denoised(x: Tensor, alpha: float, sigma: float, means: Tensor = MEANS) -> Tensor:
    """E[x0 | x] of an equal mixture of three Gaussians, in x's dtype."""
    total = alpha * alpha * VARIANCE + sigma * sigma
    away = x[:, None, :] - alpha * means.to(x.dtype)
    weights = torch.softmax(-(away**2).sum(-1) / (2 * total), dim=-1)
    mean = weights @ means.to(x.dtype)
    return mean + (alpha * VARIANCE / total) * (x - alpha * mean)


def network(schedule: Any, prediction: str, seen: list[float] | None = None) -> Any:
    """A network of this parameterisation that is exactly right, told the schedule's own t."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x),)
        if seen is not None:
            seen.append(float(t[0]))
        node = schedule.node(float(t[0]))
        return from_denoised(denoised(x, node.alpha, node.sigma), x, node, prediction)

    return predict


def states(seed: int, n: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@given(
    kind=st.sampled_from(sorted(SCHEDULES)),
    name=st.sampled_from(["eps", "v", "x0", "score", "flow", "epsilon", "v_prediction", "sample", "flow_prediction"]),
    r=st.floats(0.05, 0.95),
    seed=st.integers(0, 2**20),
)
def test_every_parameterisation_is_the_same_denoiser(kind: str, name: str, r: float, seed: int) -> None:
    from scorebed.gpu.network.wrap import prediction_of

    schedule = SCHEDULES[kind]()
    node = schedule.node(schedule.t_min + r * (schedule.t_max - schedule.t_min))
    x = math.hypot(node.alpha, node.sigma) * states(seed)
    found = wrap(network(schedule, prediction_of(name)), schedule, name)(x, node)
    torch.testing.assert_close(found, denoised(x, node.alpha, node.sigma), rtol=1e-7, atol=1e-7 * max(1.0, node.rho))


@given(kind=st.sampled_from(sorted(SCHEDULES)), name=st.sampled_from(["eps", "v", "score", "x0"]), r=st.floats(0.1, 0.9))
@settings(max_examples=30)
def test_a_network_runs_on_any_schedule(kind: str, name: str, r: float) -> None:
    """Trained on VP, asked at a node of another schedule with the same lam: x/alpha has the same law."""
    home, other = VP(), SCHEDULES[kind]()
    low, high = max(home.node(1.0).lam, other.node(other.t_max).lam), min(home.node(1e-3).lam, other.node(other.t_min).lam)
    node = other.at_lam(low + r * (high - low))
    x = math.hypot(node.alpha, node.sigma) * states(7)
    found = wrap(network(home, "denoised" if name == "x0" else name), home, name)(x, node)
    torch.testing.assert_close(found, denoised(x, node.alpha, node.sigma), rtol=1e-7, atol=1e-7 * max(1.0, node.rho))


@pytest.mark.parametrize("schedule", [EDM(), VP(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_edm_preconditioning(schedule: Any) -> None:
    """F from the definition of the preconditioning, inverted; the label is ln(rho)/4."""

    def raw(z: Tensor, label: Tensor) -> Tensor:
        rho = math.exp(4.0 * float(label[0]))
        c_skip, c_out, c_in = edm_numbers(rho, 0.5)
        return (denoised(z / c_in, 1.0, rho) - c_skip * z / c_in) / c_out

    node = schedule.node(0.4)
    x = states(3)
    torch.testing.assert_close(edm_denoiser(raw, 0.5)(x, node), denoised(x, node.alpha, node.sigma), rtol=1e-6, atol=1e-6)
    c_skip, c_out, c_in = edm_numbers(0.5, 0.5)
    assert (c_skip, c_out, c_in) == pytest.approx((0.5, 0.5 / math.sqrt(2), math.sqrt(2)))


class Linear(nn.Module):
    """A network with parameters, a condition of one row per sample, and a nested one."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.tensor([[0.3, -0.2], [0.1, 0.4]]))
        self.calls: list[int] = []

    def forward(self, x: Tensor, t: Tensor, shift: Tensor, more: dict[str, Tensor], scale: float = 1.0) -> tuple[Tensor]:
        self.calls.append(len(x))
        return (scale * (x @ self.mix) + shift + more["a"] + 0.01 * t[:, None].to(x.dtype),)


def test_chunks_conditions_and_guidance() -> None:
    """Chunks change nothing but the calls; guidance is null + w (prediction − null), in one call."""
    net, schedule = Linear(), VP()
    node, x = schedule.node(0.3), states(1, 5, torch.float32)
    shift, none, more = states(2, 5, torch.float32), torch.zeros(1, 2), {"a": states(3, 1, torch.float32)}
    given_ = {"per_sample": {"shift": shift, "more": more}, "condition": {"scale": 2.0}}
    whole = wrap(net, schedule, "eps", **given_)(x, node)
    assert net.calls == [5]
    chunked = wrap(net, schedule, "eps", **given_, chunk=2)(x, node)
    assert net.calls == [5, 2, 2, 1]
    torch.testing.assert_close(chunked, whole)
    without = wrap(net, schedule, "eps", per_sample={"shift": none, "more": more}, condition={"scale": 2.0})(x, node)
    net.calls.clear()
    guided = wrap(net, schedule, "eps", **given_, null={"shift": none}, guidance=3.0)(x, node)
    assert net.calls == [10]
    torch.testing.assert_close(guided, without + 3.0 * (whole - without), rtol=1e-4, atol=1e-4)
    assert float((guided - whole).abs().max()) > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("state", [torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype: torch.dtype, state: torch.dtype) -> None:
    """The answer has the state's dtype, the network sees its own, and the difference is that of the narrower one."""
    seen: list[tuple[torch.dtype, torch.dtype]] = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.7, dtype=dtype))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            seen.append((x.dtype, t.dtype))
            return self.w * x

    schedule = VP()
    node, x = schedule.node(0.4), states(4, 64, state)
    found = wrap(Net(), schedule, "eps")(x, node)
    assert found.dtype == state
    assert seen == [(dtype, torch.float64 if dtype == torch.float64 else torch.float32)]
    eps = 0.7 * x.double()
    exact = (x.double() - node.sigma * eps) / node.alpha
    # one rounding of the result, two of the network (and its weight), and the float32 of what lies between
    bound = 0.5 * torch.finfo(state).eps * exact.abs() + (1.5 * torch.finfo(dtype).eps + 4e-7) * node.sigma / node.alpha * eps.abs()
    if state == torch.float64 == dtype:
        bound = 1e-14 * (1.0 + exact.abs())
    assert ((found.double() - exact).abs() <= bound + 2e-7 * (1.0 + x.double().abs()) / node.alpha * float(state != torch.float64)).all()


def test_no_graph_unless_asked() -> None:
    net = nn.Linear(2, 2)
    x, node = states(0, 3, torch.float32), VP().node(0.5)
    assert not wrap(lambda x, t: net(x), VP(), "eps")(x, node).requires_grad
    assert wrap(lambda x, t: net(x), VP(), "eps", grad=True)(x, node).requires_grad


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: wrap(3, VP()), TypeError, "not callable"),  # type: ignore[arg-type]
        (lambda: wrap(lambda x, t: x, VP(), "noise"), ValueError, "prediction = 'noise'"),
        (lambda: wrap(lambda x, t: x, VP(), chunk=0), ValueError, "chunk = 0"),
        (lambda: wrap(lambda x, t: x, VP(), guidance=2.0), ValueError, "needs null"),
        (lambda: wrap(lambda x, t: x, VP(), null={"a": 1}), ValueError, "per_sample lacks"),
        (lambda: wrap(nn.Sequential(nn.Dropout(0.1)), VP()), ValueError, r"call \.eval\(\)"),
        (lambda: edm_denoiser(lambda x, t: x, -1.0), ValueError, "sigma_data"),
        (lambda: wrap(lambda x, t: x[:, :1], VP())(states(0), VP().node(0.5)), ValueError, "returned shape"),
        (lambda: wrap(lambda x, t: "no", VP())(states(0), VP().node(0.5)), TypeError, "pick"),
        (lambda: wrap(lambda x, t: x, VP())(states(0).numpy(), VP().node(0.5)), TypeError, "torch tensors"),
        (lambda: wrap(lambda x, t, c: x, VP(), per_sample={"c": torch.ones(3, 1)})(states(0), VP().node(0.5)), ValueError, "5 rows"),
    ],
)
def test_bad_input_is_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def table(n: int = 1000) -> tuple[float, ...]:
    """The table of Stable Diffusion."""
    product, out = 1.0, []
    for i in range(n):
        product *= 1.0 - (math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / (n - 1)) ** 2
        out.append(product)
    return tuple(out)


@given(t=st.floats(-3.0, 1010.0))
def test_a_table_is_a_schedule(t: float) -> None:
    """node and at_lam invert each other, lam falls, alpha² + sigma² = 1, integers give the table, f and g² are the derivatives."""
    schedule = TableSchedule(table())
    node = schedule.node(t)
    assert schedule.at_lam(node.lam).t == pytest.approx(t, abs=1e-8)
    assert node.alpha**2 + node.sigma**2 == pytest.approx(1.0, abs=1e-14)
    assert math.log(node.alpha / node.sigma) == pytest.approx(node.lam, abs=1e-12)
    assert schedule.node(t + 0.25).lam < node.lam
    i = min(max(int(t), 0), 999)
    assert schedule.node(i).alpha ** 2 == pytest.approx(schedule.alphas_cumprod[i], rel=1e-13)
    inside = i + 0.5  # away from the table's kinks
    low, high = schedule.node(inside - 1e-5), schedule.node(inside + 1e-5)
    assert (math.log(high.alpha) - math.log(low.alpha)) / 2e-5 == pytest.approx(schedule.f(inside), rel=1e-4)
    rate = (high.sigma**2 - low.sigma**2) / 2e-5 - 2.0 * schedule.f(inside) * schedule.node(inside).sigma ** 2
    assert rate == pytest.approx(schedule.g2(inside), rel=1e-4)


def test_the_cost_of_rounding() -> None:
    """Told real-valued times the solver converges; told the nearest integers the same solver stalls, at what ``rounding_cost`` measures."""
    smooth, rounded = TableSchedule(table()), TableSchedule(table(), "nearest")
    x = states(11, 64)
    errors: dict[str, list[float]] = {}
    wrapped = {name: wrap(network(smooth, "eps"), s, "eps") for name, s in (("real", smooth), ("nearest", rounded))}
    truth = sample(SOLVERS["rk4"], wrapped["real"], x, grid.uniform_lam(smooth, 320), terminal="none")
    for name, denoise in wrapped.items():
        grids = [grid.uniform_lam(smooth if name == "real" else rounded, n) for n in (20, 40, 80)]
        runs = [sample(SOLVERS["rk4"], denoise, x, g, terminal="none") for g in grids]
        errors[name] = [float((run - truth).square().mean().sqrt()) for run in runs]
    assert errors["real"][2] < errors["real"][0] / 100  # fourth order: 4⁴ = 256
    assert errors["nearest"][2] > 20.0 * errors["real"][2]
    nodes = grid.uniform_lam(rounded, 80)
    off = mismatch(rounded, nodes)
    assert mismatch(smooth, grid.uniform_lam(smooth, 80)) < 1e-12
    assert 0.0 < off <= 0.5 * max(a - b for a, b in zip(rounded._lam, rounded._lam[1:], strict=False)) + 1e-12
    pairs = [(node.alpha * MEANS[:1].expand(4, 2) + node.sigma * states(5, 4), node) for node in nodes]
    cost = rounding_cost(wrapped["real"], wrapped["nearest"], pairs)
    assert 1e-4 < cost < 0.2
    assert rounding_cost(wrapped["real"], wrapped["real"], pairs) == 0.0


def test_times_beyond_the_table_are_told_its_ends() -> None:
    seen: list[float] = []
    schedule = TableSchedule(table())
    denoise = wrap(lambda x, t: (seen.append(float(t[0])), x)[1], schedule, "eps")
    for lam in (8.0, 0.1, -5.0):
        denoise(states(0), schedule.at_lam(lam))
    assert seen[0] == 0.0
    assert seen[2] == 999.0
    assert seen[1] == pytest.approx(schedule.at_lam(0.1).t, rel=1e-6)
    assert seen[1] % 1.0 != 0.0


@pytest.mark.parametrize(
    ("values", "words"),
    [((0.5,), "at least two"), ((0.5, 0.6), "fall strictly"), ((1.0, 0.5), "between 0 and 1"), ((0.9, float("nan")), "fall strictly")],
)
def test_bad_tables_are_named(values: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TableSchedule(values)
    with pytest.raises(ValueError, match="rounding = 'up'"):
        TableSchedule((0.9, 0.1), "up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        TableSchedule((0.9, 0.1)).node(math.inf)
    assert TableSchedule((0.9, 0.0)).alphas_cumprod[1] == 2.0**-24


def test_nodes_keep_their_type() -> None:
    assert isinstance(TableSchedule((0.9, 0.1)).at_lam(0.0), Node)


# wrapped networks in gpu.run: the conversion in the passes, conditions by sample

GRID = grid.uniform_lam(VP(), 6, end=0.05)


def conditional(x: Tensor, t: Tensor, shift: Tensor) -> Tensor:
    return 0.4 * torch.tanh(x) + 0.1 * shift + 0.05 * t[:, None].to(x.dtype)


def wrappings(x: Tensor) -> dict[str, Any]:
    """Networks of every kind of numbers, by name."""
    shift, none = states(8, len(x)), torch.zeros(1, 2, dtype=torch.float64)
    return {
        "eps": wrap(lambda x, t: conditional(x, t, x.flip(1)), VP(), "eps"),
        "v on another schedule": wrap(lambda x, t: conditional(x, t, x.flip(1)), EDM(), "v"),
        "edm": edm_denoiser(lambda x, t: conditional(x, t, x.flip(1)), 0.5),
        "per sample": wrap(conditional, VP(), "flow", per_sample={"shift": shift}),
        "guided": wrap(conditional, VP(), "eps", per_sample={"shift": shift}, null={"shift": none}, guidance=2.5),
        "guided, a scale each": wrap(
            conditional, VP(), "eps", per_sample={"shift": shift}, null={"shift": none}, guidance=torch.linspace(0.0, 4.0, len(x))
        ),
    }


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc_3", "sa_solver", "rk4", "ddpm", "scipy_rk45"])
def test_a_wrapped_network_runs_in_the_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same samples as by D itself, whole and in chunks, and D is never formed outside the passes, whose number stays."""
    from scorebed.gpu.plan.prediction import numbers_of, predicting
    from scorebed.gpu.plan.program import program

    x, method = states(9, 5), SOLVERS[name]
    planned = method.nonlinear is None
    for kind, denoise in wrappings(x).items():
        if not planned and "per sample" not in kind and "each" not in kind and kind != "guided":
            truth = sample(method, denoise, x, GRID, noise=3)
            torch.testing.assert_close(gpu.run(method, denoise, x, GRID, noise=3), truth, rtol=1e-6, atol=1e-6)
        if not planned:
            continue
        truth = gpu.run(method, lambda y, node, d=denoise: d(y, node), x, GRID, noise=3)
        with monkeypatch.context() as patch:
            patch.delattr(Wrapped, "__call__")
            found = gpu.run(method, denoise, x, GRID, noise=3)
            split = gpu.run(method, denoise, x, GRID, noise=3, chunk=2)
        torch.testing.assert_close(found, truth, rtol=0.0, atol=1e-11 * float(truth.abs().max() + 1))
        torch.testing.assert_close(split, truth, rtol=0.0, atol=1e-11 * float(truth.abs().max() + 1))
        plan, told = trace(method, GRID, "none"), numbers_of(denoise, x.dtype)
        assert told is not None
        more = 1 if denoise.numbers(GRID[0])[0] != 1.0 else 0  # the first input c x is made before the first call
        assert len(program(predicting(plan, told)).passes) == len(program(plan).passes) + more, (name, kind)


def test_a_callback_sees_denoised_means() -> None:
    seen: list[Tensor] = []
    x, denoise = states(9, 5), wrappings(states(9, 5))["eps"]
    gpu.run(SOLVERS["ddim"], denoise, x, GRID, terminal="none", callback=lambda done: seen.append(done.denoised.clone()))
    torch.testing.assert_close(seen[0], denoise(x, GRID[0]), rtol=1e-12, atol=1e-12)
    seen.clear()
    eps = predicts("eps")(lambda y, node: 0.3 * y)
    gpu.run(SOLVERS["ddim"], eps, x, GRID, terminal="none", prediction="eps", callback=lambda done: seen.append(done.denoised.clone()))
    torch.testing.assert_close(seen[0], (x - GRID[0].sigma * 0.3 * x) / GRID[0].alpha)


@pytest.mark.parametrize(("state", "narrow"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_nothing_is_fused_that_would_lose_digits(state: torch.dtype, narrow: torch.dtype) -> None:
    """A float32 network on bfloat16 states is combined in float32 as before; a bfloat16 network on float32 states in the passes."""
    from scorebed.gpu.plan.prediction import numbers_of

    net = nn.Linear(2, 2).to(narrow)
    denoise = wrap(lambda x, t: net(x), VP(), "eps", dtype=narrow)
    assert (numbers_of(denoise, state) is None) == (state == torch.bfloat16)
    x = states(3, 4).to(state)
    found = gpu.run(SOLVERS["dpmpp_2m"], denoise, x, GRID)
    assert found.dtype == state
    truth = gpu.run(SOLVERS["dpmpp_2m"], lambda y, node: denoise(y, node), x, GRID)
    torch.testing.assert_close(found, truth, rtol=2e-2 if state == torch.bfloat16 else 1e-5, atol=1e-5)


def test_one_chunk() -> None:
    """``chunk`` is the rows that the network sees, guided or not, in wrap, guided and run; True is no number."""
    x, sizes = states(9, 5), list[int]()

    def counted(x: Tensor, t: Tensor, shift: Tensor) -> Tensor:
        sizes.append(len(x))
        return conditional(x, t, shift)

    shift = states(8, 5)
    for options, wanted in (({}, [3, 2]), ({"null": {"shift": 0 * shift}, "guidance": 2.0}, [3, 3, 3, 1])):
        sizes.clear()
        denoise = wrap(counted, VP(), "eps", per_sample={"shift": shift}, chunk=3, **options)
        found = denoise(x, GRID[1])
        assert sizes == wanted
        torch.testing.assert_close(found, wrap(conditional, VP(), "eps", per_sample={"shift": shift}, **options)(x, GRID[1]))
        torch.testing.assert_close(denoise.take(slice(1, 3))(x[1:3], GRID[1]), found[1:3])
        torch.testing.assert_close(denoise.take([4, 0])(x[[4, 0]], GRID[1]), found[[4, 0]])
    for bad in (True, 0, 2.0, "2"):
        for call in (
            lambda bad=bad: wrap(conditional, VP(), "eps", chunk=bad),
            lambda bad=bad: gpu.guided(lambda y, n, c: y, shift, shift, 2.0, chunk=bad),
            lambda bad=bad: gpu.run(SOLVERS["ddim"], lambda y, n: y, x, GRID, chunk=bad),
        ):
            with pytest.raises(ValueError, match="chunk"):
                call()


# what a network computes in


class Cast(nn.Linear):
    """Weights stored in float8, computed in the type of the input."""

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


@pytest.mark.parametrize("storage", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_stored_in_float8(storage: torch.dtype) -> None:
    """The state's type, one that is given, or that of diffusers' casting hooks: never the type of the store."""
    torch.manual_seed(0)
    net = Cast(2, 2).eval().requires_grad_(False)
    plain = Cast(2, 2).eval().requires_grad_(False)
    plain.load_state_dict({k: v.to(storage).float() for k, v in net.state_dict().items()})
    net = net.to(storage)
    x, node = states(0, 4, torch.float32), VP().node(0.4)
    torch.testing.assert_close(wrap(net, VP(), "eps")(x, node), wrap(plain, VP(), "eps")(x, node))
    found = wrap(net, VP(), "eps", dtype=torch.bfloat16)(x, node)
    torch.testing.assert_close(found, wrap(plain, VP(), "eps")(x, node), rtol=0.05, atol=0.05)
    import diffusers

    hooked = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)).eval()
    truth = copy.deepcopy(hooked)
    diffusers.hooks.apply_layerwise_casting(hooked, storage_dtype=storage, compute_dtype=torch.bfloat16)
    denoise = wrap(lambda y, t: hooked(y), VP(), "eps", dtype=compute_dtype(hooked))
    assert compute_dtype(hooked) == torch.bfloat16
    torch.testing.assert_close(denoise(x, node), wrap(lambda y, t: truth(y), VP(), "eps")(x, node), rtol=0.2, atol=0.2)

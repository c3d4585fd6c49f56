"""torchdiffeq, flow-matching, torchsde, sbi, deepinv, physicsnemo and skrample on the scoreboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from scorebed.toy.peers.entry import DDIM, DDPM, DPMPP, EDM, UNIPC, Entry, Peer, label

_CHURN = "churn of a fixed share of the run: S_churn = 4 with num_steps = 1000"
_ELEVEN = "by default `max_order` is 12, whose eleven weights are unstable at the steps of all these grids"
_BIAS = "as DDIM with eta: the law of one step is exact on a constant network"


def _entry(
    library: str,
    name: str,
    order: int | None,
    weak: int | None,
    source: str,
    defects: tuple[str, ...] = (),
    note: str = "",
    /,
    **options: Any,
) -> Entry:
    shown = f" ({label(options)})" if options else ""
    return Entry(name + shown, Peer(library, name, options), order, weak, source, defects, note)


def torchdiffeq_entries() -> Iterator[Entry]:
    """Its methods of fixed steps, on the velocity of the straight flow; the others choose their steps by a tolerance."""
    for name, order in (("euler", 1), ("midpoint", 2), ("heun2", 2), ("heun3", 3), ("rk4", 4)):
        yield _entry("torchdiffeq", name, order, None, "`order` of its class")
    yield _entry("torchdiffeq", "implicit_adams", 4, None, "`order` of its class", ("adams-equal-steps",))
    yield _entry("torchdiffeq", "explicit_adams", 4, None, "`order` of its class", ("adams-equal-steps",), _ELEVEN, max_order=5)


def flow_matching_entries() -> Iterator[Entry]:
    """``ODESolver``, which hands its grid to torchdiffeq."""
    for name, order in (("euler", 1), ("midpoint", 2), ("heun3", 3)):
        yield _entry("flow-matching", name, order, None, "docstring: a method of torchdiffeq")


def torchsde_entries() -> Iterator[Entry]:
    """``sdeint`` on the reverse SDE, with increments that are drawn for it."""
    for name in ("euler", "milstein", "srk", "heun", "midpoint", "euler_heun", "reversible_heun"):
        yield _entry("torchsde", name, None, 1, "`weak_order` of its class" + ("; it says 1.5" if name == "srk" else ""))


def sbi_entries() -> Iterator[Entry]:
    """Its one predictor."""
    yield _entry("sbi", "EulerMaruyama", None, 1, "Euler-Maruyama of the reverse SDE")
    yield _entry("sbi", "EulerMaruyama", None, 1, "Euler-Maruyama of a reverse SDE with less noise", eta=0.5)


def deepinv_entries() -> Iterator[Entry]:
    """Its solvers, on the flow (alpha = 0) and on the reverse SDE."""
    yield _entry("deepinv", "EulerSolver", 1, None, "docstring: first order", alpha=0.0)
    yield _entry("deepinv", "EulerSolver", None, 1, "docstring: Euler-Maruyama")
    yield _entry("deepinv", "HeunSolver", 2, None, "docstring: second-order Heun", alpha=0.0)
    yield _entry("deepinv", "HeunSolver", None, 2, "docstring: second-order Heun; the noise is additive")
    yield _entry("deepinv", "DDIMSolver", 1, None, DDIM)
    yield _entry("deepinv", "DDIMSolver", None, 1, DDIM, (), _BIAS, eta=0.5)
    yield _entry("deepinv", "DDPMSolver", None, 1, DDPM)
    yield _entry("deepinv", "DDPMSolver", None, 1, DDPM, variance="large")
    yield _entry("deepinv", "AncestralSolver", None, 1, "docstring: generalises DDPM and DDIM", alpha=0.5)


def physicsnemo_entries() -> Iterator[Entry]:
    """Its solvers, on x = x0 + t eps."""
    churn: dict[str, Any] = {"S_churn": 4.0, "num_steps": 1000}
    yield _entry("physicsnemo", "EulerSolver", 1, None, "docstring: first-order")
    yield _entry("physicsnemo", "HeunSolver", 2, None, "docstring: second-order")
    yield _entry("physicsnemo", "HeunSolver", 2, None, "docstring: the midpoint method", (), "", alpha=0.5)
    yield _entry("physicsnemo", "EDMStochasticEulerSolver", None, 1, f"{EDM}, Alg. 2 without its second half", (), _CHURN, **churn)
    yield _entry("physicsnemo", "EDMStochasticHeunSolver", None, 1, f"{EDM}, Alg. 2", (), _CHURN, **churn)


def skrample_entries() -> Iterator[Entry]:
    """Its samplers on the prediction of x0."""
    last = ("skrample-last-steps",)
    yield _entry("skrample", "Euler", 1, None, DDIM)
    yield _entry("skrample", "Euler", None, 1, DDPM, stochasticity=1.0)
    for order in (1, 2, 3):
        see = ("skrample-3m-factor", *last) if order == 3 else ()
        yield _entry("skrample", "DPM", order, None, f"`order`; {DPMPP}", see, order=order)
    for order in (2, 3):
        yield _entry("skrample", "DPM", None, 2, f"{DPMPP}, SDE 2M", (), order=order, stochasticity=1.0)
    for order in (2, 3, 4):
        yield _entry("skrample", "Adams", order, None, "`order`: Adams-Bashforth", ("skrample-adams",), order=order)
    for order in (2, 3):
        yield _entry("skrample", "UniP", order, None, f"`order`; {UNIPC}", last[: order - 2], order=order)
    for order in (1, 2):
        yield _entry("skrample", "UniPC", order + 1, None, f"docstring: one more than `order`; {UNIPC}", last[: order - 1], order=order)
    for stages, order in ((1, 1), (2, 2), (5, 4)):
        yield _entry(
            "skrample",
            "RKUltra",
            order,
            None,
            "of the tableau that `order`, its number of stages, chooses",
            ("skrample-stages",) if stages > 2 else (),
            order=stages,
        )


MORE: dict[str, Callable[[], Iterator[Entry]]] = {
    "torchdiffeq": torchdiffeq_entries,
    "flow-matching": flow_matching_entries,
    "torchsde": torchsde_entries,
    "sbi": sbi_entries,
    "deepinv": deepinv_entries,
    "physicsnemo": physicsnemo_entries,
    "skrample": skrample_entries,
}
"""The entries of each of these libraries."""

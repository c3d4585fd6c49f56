r"""What the numbers of a grid mean: the conventions of libraries and papers, with exact conversions between them.

Everything is said through the noise-to-signal ratio rho = sigma/alpha, and the flow level tau = rho/(1 + rho), where
x_t = (1 − tau) x0 + tau eps up to scale:

    sigma   rho itself                       k-diffusion, EDM, physicsnemo, diffusers' Euler family; x = x0 + rho eps
    flow    tau, 1 at noise                  diffusers' FlowMatch family, ComfyUI's CONST models, lerobot
    up      1 − tau, 1 at data               rectified flow's own time, F5-TTS, flow_matching, torchcfm
    mille   1000 tau                         what flow networks are told as a timestep
    index   an index of a table of 1000 betas
    told    ln(rho)/4, what EDM's networks are told
    trig    atan(rho), the angle of TrigFlow
    bar     1/(1 + rho²), alpha² of a variance-preserving process
    lam     −ln rho, half the logarithm of the signal-to-noise ratio

The time shift is tau' = s tau/(1 + (s − 1) tau), rho' = s rho: in rho a shift is a factor (arXiv:2403.03206, eq. 23).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

TRAINED = 1000
"""Entries of the usual tables of betas."""


@dataclass(frozen=True)
class Convention:
    """How a library writes down a grid.

    Attributes:
        name: what ``check_grid(convention=…)`` takes.
        meaning: one line for tables.
        to_rho, from_rho: a written number to sigma/alpha, and back.
        falls: whether the numbers fall from noise to data.
        clean: the number at the data end, where the list ends with it; None where it holds levels only.
        noise: the number at pure noise, where there is one.
        users: who writes grids like that.
    """

    name: str
    meaning: str
    to_rho: Callable[[float], float]
    from_rho: Callable[[float], float]
    falls: bool
    clean: float | None
    noise: float | None
    users: str

    def steps(self, values: int) -> int:
        """How many steps, that is evaluations of a one-evaluation method, so many numbers stand for."""
        return values - 1 if self.clean is not None else values


def tau_of(rho: float) -> float:
    """rho/(1 + rho), the flow level."""
    return 1.0 if math.isinf(rho) else rho / (1.0 + rho)


def rho_of(tau: float) -> float:
    """tau/(1 − tau); infinite at pure noise."""
    return math.inf if tau >= 1.0 else tau / (1.0 - tau)


def shifted(tau: float, shift: float) -> float:
    """s τ/(1 + (s − 1) τ)."""
    return shift * tau / (1.0 + (shift - 1.0) * tau)


def linear_table(beta_start: float = 0.00085, beta_end: float = 0.012, scaled: bool = True) -> list[float]:
    """rho at each index of a table of 1000 betas, linear, or linear in sqrt(beta) (``scaled``, Stable Diffusion's)."""
    low, high = (math.sqrt(beta_start), math.sqrt(beta_end)) if scaled else (beta_start, beta_end)
    total, rho = 0.0, []
    for i in range(TRAINED):
        beta = low + (high - low) * i / (TRAINED - 1)
        total += math.log1p(-(beta * beta if scaled else beta))
        rho.append(math.sqrt(math.expm1(-total)))
    return rho


def _indexed(table: list[float]) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Between entries log(rho) is linear in the index, as k-diffusion has it."""
    logs = [math.log(rho) for rho in table]

    def to_rho(index: float) -> float:
        at = min(max(float(index), 0.0), len(logs) - 1.0)
        low = min(int(at), len(logs) - 2)
        return math.exp(logs[low] + (at - low) * (logs[low + 1] - logs[low]))

    def from_rho(rho: float) -> float:
        goal = math.log(rho)
        low = max(0, min(len(logs) - 2, sum(value <= goal for value in logs) - 1))
        return low + (goal - logs[low]) / (logs[low + 1] - logs[low])

    return to_rho, from_rho


_TO_INDEX, _FROM_INDEX = _indexed(linear_table())

CONVENTIONS: dict[str, Convention] = {
    c.name: c
    for c in (
        Convention(
            name="sigma",
            meaning="sigma/alpha, falling, with a 0 at the end",
            to_rho=float,
            from_rho=float,
            falls=True,
            clean=0.0,
            noise=None,
            users="k-diffusion, EDM, physicsnemo, ComfyUI and A1111 (eps and v models), diffusers' Euler, Heun, LMS, DPM++ SDE",
        ),
        Convention(
            name="flow",
            meaning="the flow level, 1 at noise, falling, with a 0 at the end",
            to_rho=rho_of,
            from_rho=tau_of,
            falls=True,
            clean=0.0,
            noise=1.0,
            users="diffusers' FlowMatch schedulers, ComfyUI (CONST models: SD3, Flux, Wan), lerobot (pi0), sd.cpp, SimpleTuner",
        ),
        Convention(
            name="flow-up",
            meaning="the flow's own time, 0 at noise, rising to 1 at the data",
            to_rho=lambda t: rho_of(1.0 - t),
            from_rho=lambda rho: 1.0 - tau_of(rho),
            falls=False,
            clean=1.0,
            noise=0.0,
            users="flow_matching, torchcfm, rectified-flow papers, F5-TTS, GR00T",
        ),
        Convention(
            name="flow-1000",
            meaning="1000 times the flow level: the timesteps that flow networks are told, one for each evaluation",
            to_rho=lambda t: rho_of(t / TRAINED),
            from_rho=lambda rho: TRAINED * tau_of(rho),
            falls=True,
            clean=None,
            noise=float(TRAINED),
            users="diffusers' FlowMatch timesteps, Wan, Hunyuan, SD3",
        ),
        Convention(
            name="index",
            meaning="indices of a table of 1000 betas, falling, one for each evaluation",
            to_rho=_TO_INDEX,
            from_rho=_FROM_INDEX,
            falls=True,
            clean=None,
            noise=TRAINED - 1.0,
            users="diffusers' DDPM, DDIM, PNDM, DPM-Solver and UniPC timesteps; the table here is Stable Diffusion's",
        ),
        Convention(
            name="vp-time",
            meaning="the time of a VP process with beta from 0.1 to 20, 1 at noise, falling",
            to_rho=lambda t: math.sqrt(math.expm1(0.1 * t + 9.95 * t * t)),
            from_rho=lambda rho: 2.0 * math.log1p(rho * rho) / (0.1 + math.sqrt(0.01 + 39.8 * math.log1p(rho * rho))),
            falls=True,
            clean=None,
            noise=1.0,
            users="score_sde, sbi (VP), physicsnemo (VP), deepinv (VP), diffusers' ScoreSdeVp",
        ),
        Convention(
            name="edm-told",
            meaning="ln(sigma)/4, falling: what the networks of EDM are told, one for each evaluation",
            to_rho=lambda c: math.exp(4.0 * c),
            from_rho=lambda rho: 0.25 * math.log(rho),
            falls=True,
            clean=None,
            noise=None,
            users="EDM and physicsnemo inside their preconditioning, diffusers' EDM schedulers' timesteps, GenCast",
        ),
        Convention(
            name="trig",
            meaning="the angle of TrigFlow, x = cos(t) x0 + sin(t) eps, pi/2 at noise, falling, with a 0 at the end",
            to_rho=math.tan,
            from_rho=math.atan,
            falls=True,
            clean=0.0,
            noise=math.pi / 2.0,
            users="sCM, SANA-Sprint, diffusers' SCM",
        ),
        Convention(
            name="alpha-bar",
            meaning="alpha² of a variance-preserving process, rising to 1 at the data",
            to_rho=lambda a: math.sqrt(1.0 / a - 1.0),
            from_rho=lambda rho: 1.0 / (1.0 + rho * rho),
            falls=False,
            clean=1.0,
            noise=0.0,
            users="diffusers' alphas_cumprod, DDPM and DDIM papers, apple/coreai, candle and burn ports",
        ),
        Convention(
            name="half-log-snr",
            meaning="lambda = ln(alpha/sigma), rising",
            to_rho=lambda lam: math.exp(-lam),
            from_rho=lambda rho: -math.log(rho),
            falls=False,
            clean=None,
            noise=None,
            users="DPM-Solver, UniPC and their ports, skrample, scorebed",
        ),
        Convention(
            name="ve-time",
            meaning="the time of a VE process with sigma from 0.01 to 50, 1 at noise, falling",
            to_rho=lambda t: 0.01 * 5000.0**t,
            from_rho=lambda rho: math.log(100.0 * rho) / math.log(5000.0),
            falls=True,
            clean=None,
            noise=1.0,
            users="score_sde (VE), sbi (VE: with its own ends), deepinv (VE)",
        ),
    )
}
"""Every convention by name."""


def convention(name: str) -> Convention:
    """The convention of this name.

    Returns:
        the Convention, from ``CONVENTIONS``.

    Raises:
        ValueError: an unknown name.
    """
    if name not in CONVENTIONS:
        raise ValueError(f"convention = {name!r} is not known: give one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


def translate(values: list[float], source: str, target: str) -> list[float]:
    """The levels of a grid written in one convention, in another; the clean end stands where the target writes one.

    Returns:
        levels in the target convention, with its clean end last where it writes one.

    Raises:
        ValueError: an unknown convention.
    """
    one, other = convention(source), convention(target)
    levels = list(values)
    ends_clean = one.clean is not None and bool(levels) and levels[-1] == one.clean
    written = [other.from_rho(one.to_rho(v)) for v in (levels[:-1] if ends_clean else levels)]
    return [*written, other.clean] if other.clean is not None else written


LIBRARIES: dict[str, tuple[str, str, str, str]] = {
    "diffusers, DDIM, DDPM, PNDM": ("index", "index", "0 or steps_offset", "alpha-bar of the table; set_alpha_to_one for the last step"),
    "diffusers, DPM-Solver, UniPC, DEIS": ("sigma", "index", "0, or sigma_min by final_sigmas_type", "timesteps are cut to integers"),
    "diffusers, Euler, Heun, LMS, KDPM2": ("sigma", "index", "0", "the state is scaled by 1/sqrt(1 + sigma²) before the network"),
    "diffusers, FlowMatch": ("flow", "flow-1000", "0, or shift_terminal", "shift once; e^mu where it is dynamic"),
    "diffusers, EDM": ("sigma", "edm-told", "0", "sigma_data = 0.5"),
    "k-diffusion": ("sigma", "index by the wrapper", "0 appended", "x = x0 + sigma eps"),
    "ComfyUI, eps and v models": ("sigma", "index", "0", "as k-diffusion"),
    "ComfyUI, CONST models": ("flow", "flow-1000", "0", "x = (1 − sigma) x0 + sigma eps; ancestral steps differ from k-diffusion's"),
    "EDM, physicsnemo": ("sigma", "edm-told", "0 appended to Karras levels", "Heun leaves the last step to Euler"),
    "physicsnemo, deepinv, score_sde, sbi: VP": ("vp-time", "vp-time", "t_min > 0", "beta from 0.1 to 20; sbi's ends are options"),
    "deepinv, score_sde, sbi: VE": ("ve-time", "sigma", "t_min > 0", "ends are options"),
    "sbi, flow matching": ("flow", "flow", "t_min > 0", "1 at noise, falling while sampling"),
    "lerobot (pi0)": ("flow", "flow", "0", "1 at noise: dt is negative; others of its policies rise"),
    "GR00T, F5-TTS, flow_matching, torchcfm": ("flow-up", "flow-up", "1", "0 at noise: dt is positive"),
    "stable-diffusion.cpp, koboldcpp": ("flow", "flow-1000", "0", "audio and video have clocks of their own"),
    "vllm-omni, sglang, SimpleTuner": ("flow", "flow-1000", "0", "a shift applied by the engine must not be applied by the scheduler too"),
    "sCM, SANA-Sprint": ("trig", "trig", "0", "x = cos(t) x0 + sin(t) eps, scaled by sigma_data"),
    "skrample": ("half-log-snr", "index or flow-1000", "0", "points are (timestep, sigma, alpha), alpha and sigma apart"),
    "scorebed": ("half-log-snr", "the node", 'terminal="denoise" or "none"', "a node is (t, alpha, sigma, lam)"),
}
"""Who writes what: (the levels of the grid, what the network is told, the end, what to watch)."""

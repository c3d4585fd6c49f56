r"""Claims 122, 175, 196: sequences whose frames have noise levels of their own, on an AR(1) chain, where every law is a matrix."""

from __future__ import annotations

from itertools import pairwise, product
from math import comb

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw
from scorebed.solvers import GRIDS, SOLVERS, VP, trace
from scorebed.solvers.process import Point
from scorebed.solvers.process.frames import Levels, Rolling
from scorebed.toy.claims.registry import Row, above, below, claim, near

FRAMES, CORRELATION = 4, 0.8
CHAIN = CORRELATION ** np.abs(np.subtract.outer(np.arange(FRAMES), np.arange(FRAMES)))
MEANS = np.array([[0.5, -0.2, 0.1, 0.3]])


def causal(law: LinearLaw) -> object:
    """The denoiser in which frame k sees the frames up to k alone."""

    def affine(node: Point) -> tuple[np.ndarray, np.ndarray]:
        a, spread = (np.array(m) for m in law.process.forward(node))
        seen = a @ CHAIN @ a.T + spread
        gain = np.zeros((FRAMES, FRAMES))
        for k in range(FRAMES):
            part = slice(0, k + 1)
            gain[k, part] = CHAIN[k, part] @ a[part, part].T @ np.linalg.inv(seen[part, part])
        return gain, MEANS[0] - gain @ a @ MEANS[0]

    return affine


def error(process: object, steps: int, *, filtered: bool = False, solver: str = "ddpm") -> float:
    """W2 of what a method draws on a process of sequences from the chain."""
    law = LinearLaw(process, [1.0], MEANS, CHAIN[None])  # type: ignore[arg-type]
    nodes = GRIDS["uniform"](process, steps, start=0.85)
    how = {"affine": causal(law)} if filtered else {}
    mean, spread = moments(trace(SOLVERS[solver], nodes, terminal="denoise"), law, **how)  # type: ignore[arg-type]
    return gaussian_w2(mean, spread, MEANS[0], CHAIN)


@claim(
    122,
    paper="SkyReels-V2 (diffusion forcing with monotone levels)",
    reference="arXiv:2504.13074",
    statement="With exact joint scores every pyramid of levels that do not decrease along the frames samples the sequence exactly in "
    "the limit of small steps; there are binomially many such pyramids, where free levels have exponentially many.",
    control="every frame is denoised by itself",
)
def pyramids(broken: bool) -> list[Row]:
    """Four frames, together, overlapping and one by one, by DDPM; and pyramids of 5 levels counted one by one."""
    alone, lags = (1.0 if broken else 0.0), (0.0, 0.5, 2.0)

    def spread(lag: float, steps: int) -> float:
        own = error(Rolling(VP(), FRAMES, lag), steps)
        return own + alone * gaussian_w2(MEANS[0], CHAIN, MEANS[0], np.eye(FRAMES))

    levels = 5
    counted = sum(all(a <= b for a, b in pairwise(w)) for w in product(range(levels), repeat=FRAMES))
    return [
        *(below(f"W2 at 160 steps, lag {lag:g}", spread(lag, 160), 0.2) for lag in lags),
        *(near(f"W2 at 40 over 160 steps, lag {lag:g}", spread(lag, 40) / spread(lag, 160), 4.0, 1.3, "times") for lag in lags),
        near("monotone pyramids over the binomial number", counted / comb(levels + FRAMES - 1, FRAMES), 1.0, 1e-12, "times", kept=True),
        above("free pyramids over monotone ones", levels**FRAMES / counted, 8.0, "times", kept=True),
    ]


@claim(
    196,
    paper="Diffusion forcing",
    reference="arXiv:2407.01392",
    statement="With the joint score any path of levels from all noise to all clean samples the joint law. A causal score, of the "
    "frames up to each, is the joint one only where the past is clean: one by one it samples the law too, all together it "
    "does not, however small the steps.",
    control="the joint score's place is taken by the causal one throughout",
)
def forcing(broken: bool) -> list[Row]:
    """Joint and causal scores on four frames of an AR(1) chain by DDPM, together and one by one."""
    together, apart = Rolling(VP(), FRAMES, 0.0), Rolling(VP(), FRAMES, 3.0)
    return [
        below("W2, joint score, together, 320 steps", error(together, 320, filtered=broken), 0.08),
        near("W2 at 80 over 320 steps, together", error(together, 80, filtered=broken) / error(together, 320, filtered=broken), 4.0, 1.0),
        below("W2, causal score, one by one, 320 steps", error(apart, 320, filtered=True), 0.2, kept=True),
        above("W2, causal score, together, 320 steps", error(together, 320, filtered=True), 0.2, kept=True),
    ]


@claim(
    175,
    paper="InfoDiffusion",
    reference="arXiv:2310.11976",
    statement="Tokens noised by levels of their own: with exact posteriors the order in which they are noised changes the error of "
    "few steps and nothing else; every order has the same limit.",
    control="one token's level is not told to the model",
)
def token_levels(broken: bool) -> list[Row]:
    """Levels that favour the first, no, and the last frame, at 10 and at 320 steps of DDPM."""
    orders = {"first": (1.2, 0.4, -0.4, -1.2), "none": (0.0,) * 4, "last": (-1.2, -0.4, 0.4, 1.2)}
    few = {name: error(Levels(VP(), shifts), 10) for name, shifts in orders.items()}
    many = {}
    for name, shifts in orders.items():
        law = LinearLaw(Levels(VP(), shifts), [1.0], MEANS, CHAIN[None])
        told = LinearLaw(Levels(VP(), (shifts[0] + 1.0, *shifts[1:])), [1.0], MEANS, CHAIN[None])
        nodes = GRIDS["uniform"](law.process, 320, start=0.85)
        wrong = {node.t: told.process.node(node.t) for node in nodes}
        how = {"affine": lambda node, told=told, wrong=wrong: told.affine(wrong[node.t])} if broken else {}
        mean, spread = moments(trace(SOLVERS["ddpm"], nodes, terminal="denoise"), law, **how)
        many[name] = gaussian_w2(mean, spread, MEANS[0], CHAIN)
    return [
        above("largest over smallest W2 of the orders at 10 steps", max(few.values()) / min(few.values()), 1.1, "times", kept=True),
        *(below(f"W2 at 320 steps, {name} first" if name != "none" else "W2 at 320 steps, together", v, 0.05) for name, v in many.items()),
    ]

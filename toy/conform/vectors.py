r"""The pack of vectors: what an implementation in any language must compute, and what it computes if it is wrong in a known way.

Every case is complete: the levels (t, alpha, sigma, lam), the exact model, the state, the draws of noise. The model is a mixture of
isotropic Gaussians, w_k, m_k, v_k, with

    D(x) = Σ_k gamma_k(x) (m_k + alpha v_k/(alpha² v_k + sigma²) (x − alpha m_k)),
    gamma_k ∝ w_k (alpha² v_k + sigma²)^{−d/2} exp(−|x − alpha m_k|²/(2 (alpha² v_k + sigma²))).

    trajectory   the state at the last level
    density      log p(x_t | x_s) of the DDPM step at given states
    grid         the levels of a spacing
    draw         tokens drawn by the cumulative sum of probabilities at given uniforms
    noise, coefficients, law, step   the pieces by themselves, as in ``pieces``

``expected`` is in float64; ``within`` says how far a run in float64, float32 and bfloat16 may be from it. ``twins`` are the answers of
known faults. The same numbers stand in JSON, in npz and, for languages without a parser of JSON, in plain text, one number after the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, VP, Node, RectifiedFlow, grid
from scorebed.toy.conform import piece_cases
from scorebed.toy.conform.conventions import shifted
from scorebed.toy.conform.faults import FAULTS, Denoise, sampler

VERSION = 2
Floats = NDArray[np.float64]
WEIGHTS, MEANS, VARIANCES = [0.35, 0.4, 0.25], [[-1.2, 0.4], [0.3, -0.8], [1.1, 1.0]], [0.09, 0.16, 0.05]
_STREAM = 20260101  # of the states, draws and uniforms


def _levels(nodes: Sequence[Node]) -> list[list[float]]:
    return [[node.t, node.alpha, node.sigma, node.lam] for node in nodes]


def _grids() -> dict[str, list[Node]]:
    vp, flow = VP(), RectifiedFlow()
    uneven = [vp.node(t) for t in (1.0, 0.8, 0.65, 0.44, 0.31, 0.17, 0.1, 0.04, 0.01)]
    shift = [flow.node(shifted(0.98 * (1.0 - i / 10) + 0.02 * i / 10, 3.0)) for i in range(11)]
    return {"vp": grid.check(uneven), "flow": grid.check(shift), "edm": grid.karras(EDM(), 12, 20.0, 0.02)}


def _round(a: Floats, bits: int) -> Floats:
    """To so many significant bits."""
    if bits >= 53:
        return a
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits)


def _within(
    method: str, denoise: Denoise, x: Floats, nodes: Sequence[Node], noises: Sequence[Floats], expected: Floats
) -> dict[str, float]:
    """Four times what a run is off whose states, predictions and draws are rounded to the precision; no less than some of its units."""
    scale = float(np.abs(expected).max())
    allowed = {"float64": 1e-9 * scale}
    for name, bits in (("float32", 24), ("bfloat16", 8)):

        def rough(y: Floats, node: Node, bits: int = bits) -> Floats:
            return _round(denoise(_round(y, bits), node), bits)

        got = sampler(method)(rough, _round(x, bits), nodes, [_round(n, bits) for n in noises])
        allowed[name] = 4.0 * max(float(np.abs(_round(got, bits) - expected).max()), scale * 2.0**-bits)
    return allowed


def _trajectories(rng: np.random.Generator) -> list[dict[str, Any]]:
    law, cases = GaussianMixture(WEIGHTS, MEANS, VARIANCES), []
    for clock, nodes in _grids().items():
        x = np.asarray(law.sample(4, rng, nodes[0]))
        draws = [rng.standard_normal(x.shape) for _ in nodes[1:]]
        for method, faults in FAULTS.items():
            noises = draws if method == "ddpm" else []
            expected = sampler(method)(law.denoised, x, nodes, noises)
            wrong = {fault: sampler(method, fault)(law.denoised, x, nodes, noises) for fault in faults}
            cases.append(
                {
                    "id": f"{method}/{clock}",
                    "kind": "trajectory",
                    "method": method,
                    "levels": _levels(nodes),
                    "x": x.tolist(),
                    "noise": [n.tolist() for n in noises],
                    "expected": expected.tolist(),
                    "within": _within(method, law.denoised, x, nodes, noises, expected),
                    "twins": {fault: y.tolist() for fault, y in wrong.items() if not np.allclose(y, expected, rtol=0.0, atol=1e-3)},
                }
            )
    return cases


def _densities(rng: np.random.Generator) -> list[dict[str, Any]]:
    """log p(x_t | x_s) of the DDPM step: the mean and the variance of ``ddpm``."""
    law, (s, t) = GaussianMixture(WEIGHTS, MEANS, VARIANCES), _grids()["vp"][3:5]
    x = np.asarray(law.sample(4, rng, s))
    mean = sampler("ddpm", "noise left out")(law.denoised, x, [s, t], [])
    variance = -t.sigma * t.sigma * math.expm1(-2.0 * (t.lam - s.lam))
    y = mean + math.sqrt(variance) * rng.standard_normal(x.shape)
    square = np.sum((y - mean) ** 2, axis=1)
    d = x.shape[1]

    def log_p(scale: float, dims: float = d) -> list[float]:
        return (-0.5 * square / scale - 0.5 * dims * math.log(2.0 * math.pi * scale)).tolist()

    expected = log_p(variance)
    return [
        {
            "id": "log-probability/vp",
            "kind": "density",
            "method": "ddpm",
            "levels": _levels([s, t]),
            "x": x.tolist(),
            "y": y.tolist(),
            "expected": expected,
            "within": {"float64": 1e-9, "float32": 1e-4, "bfloat16": 0.2},
            "twins": {
                "standard deviation for variance": log_p(math.sqrt(variance)),
                "normaliser left out": (-0.5 * square / variance).tolist(),
                "mean over dimensions": (np.array(expected) / d).tolist(),
                "one dimension in the normaliser": log_p(variance, 1.0),
            },
        }
    ]


def _spacings() -> list[dict[str, Any]]:
    edm, ts = grid.karras(EDM(), 10, 80.0, 0.002), np.linspace(1.0, 1.0 / 20, 20)
    flow = [*(shifted(float(t), 3.0) for t in ts), 0.0]
    inverse = [80.0 ** (1 / 7) + i / 10 * (0.002 ** (1 / 7) - 80.0 ** (1 / 7)) for i in range(11)]
    made = [
        (
            *("karras", {"n": 10, "sigma_max": 80.0, "sigma_min": 0.002, "rho": 7.0}, [*(n.rho for n in edm), 0.0]),
            {
                "power left out": [*inverse, 0.0],
                "one step missing": [*(n.rho for n in grid.karras(EDM(), 9, 80.0, 0.002)), 0.0],
                "clean end missing": [n.rho for n in edm],
            },
        ),
        (
            *("flow-shift", {"n": 20, "shift": 3.0}, flow),
            {
                "shifted twice": [*(shifted(float(t), 9.0) for t in ts), 0.0],
                "shift not applied": [*map(float, ts), 0.0],
                "one step missing": [*(shifted(float(t), 3.0) for t in np.linspace(1.0, 1.0 / 19, 19)), 0.0],
                "clean end missing": flow[:-1],
            },
        ),
    ]
    return [
        {
            "id": f"grid/{name}",
            "kind": "grid",
            "method": name,
            "options": options,
            "expected": levels,
            "within": {"float64": 1e-9 * levels[0], "float32": 1e-5 * levels[0], "bfloat16": 4e-3 * levels[0]},
            "twins": twins,
        }
        for name, options, levels, twins in made
    ]


def _draws(rng: np.random.Generator) -> list[dict[str, Any]]:
    """token = the first k with u < Σ_{j≤k} p_j; the last one with p > 0 where round-off leaves the sum below u."""
    p = rng.dirichlet(np.full(6, 0.7), size=12)
    p[:, 3] = 0.0  # a token of probability 0 must never come out
    p /= p.sum(axis=1, keepdims=True)
    u = rng.uniform(size=12)
    u[:2] = 0.0, 1.0 - 2.0**-53
    total = np.cumsum(p, axis=1)

    def drawn(strict: bool) -> list[int]:
        hits = u[:, None] < total if strict else u[:, None] >= total
        return [int(np.argmax(row)) if row.any() else int(np.flatnonzero(q)[-1]) for row, q in zip(hits, p, strict=True)]

    reverse = [5 - int(np.argmax(v < np.cumsum(q[::-1]))) for v, q in zip(u, p, strict=True)]
    most = np.argmax(p, axis=1).tolist()
    twins = {"order of the tokens reversed": reverse, "most likely token": most, "comparison inverted": drawn(False)}
    return [
        {
            "id": "draw/categorical",
            "kind": "draw",
            "method": "inverse",
            "probabilities": p.tolist(),
            "uniforms": u.tolist(),
            "expected": drawn(True),
            "within": {"float64": 0.0, "float32": 0.0, "bfloat16": 0.0},
            "twins": twins,
        }
    ]


def pack() -> dict[str, Any]:
    """The whole pack, the same at every call."""
    rng = np.random.default_rng(_STREAM)
    model, grids = {"weights": WEIGHTS, "means": MEANS, "variances": VARIANCES}, _grids()
    cases = [*_trajectories(rng), *_densities(rng), *_spacings(), *_draws(rng)]
    cases += [*piece_cases.noise(), *piece_cases.coefficients(grids), *piece_cases.laws(grids), *piece_cases.steps(rng)]
    return {"version": VERSION, "model": model, "cases": cases}


def plain(made: dict[str, Any]) -> str:
    """The inputs as text: a word or a number on each line, lists with their length before them."""
    words: list[str] = ["scorebed-vectors", str(made["version"])]

    def put(value: Any) -> None:
        if isinstance(value, list):
            words.append(str(len(value)))
            for one in value:
                put(one)
        else:
            words.append(repr(value) if isinstance(value, float) else str(value))

    for key in ("weights", "means", "variances"):
        put(made["model"][key])
    words.append(str(len(made["cases"])))
    for case in made["cases"]:
        words += [case["id"], case["kind"], case["method"]]
        options = list(map(float, case.get("options", {}).values()))
        for part in ("levels", "x", "y", "noise", "probabilities", "uniforms", "rows"):
            put(case.get(part, []))
        put(options)
    return "\n".join(words) + "\n"


def write(folder: str | Path) -> list[Path]:
    """Write vectors.json, vectors.npz, vectors.txt and schema.json into the folder.

    Returns:
        paths of the files written.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = pack()
    paths = [folder / f"vectors.{kind}" for kind in ("json", "npz", "txt")] + [folder / "schema.json"]
    paths[0].write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    arrays = {
        f"{c['id']}/{key}": np.asarray(c[key]) for c in made["cases"] for key in ("levels", "x", "noise", "rows", "expected") if key in c
    }
    np.savez_compressed(paths[1], **arrays)  # type: ignore[arg-type]
    paths[2].write_text(plain(made), encoding="utf-8")
    paths[3].write_text(json.dumps(SCHEMA, indent=1) + "\n", encoding="utf-8")
    return paths


_NUMBERS = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"$ref": "#/$defs/numbers"}]}}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "scorebed vectors",
    "type": "object",
    "required": ["version", "model", "cases"],
    "$defs": {"numbers": _NUMBERS},
    "properties": {
        "version": {"const": VERSION},
        "model": {"type": "object", "required": ["weights", "means", "variances"], "additionalProperties": {"$ref": "#/$defs/numbers"}},
        "cases": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "kind", "method", "expected", "within", "twins"],
                "properties": {
                    "id": {"type": "string"},
                    "kind": {"enum": ["trajectory", "density", "grid", "draw", "noise", "coefficients", "law", "step"]},
                    "method": {"type": "string"},
                    "expected": {"$ref": "#/$defs/numbers"},
                    "within": {"type": "object", "additionalProperties": {"type": "number"}},
                    "twins": {"type": "object", "additionalProperties": {"$ref": "#/$defs/numbers"}},
                },
            },
        },
    },
}

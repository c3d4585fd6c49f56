"""A runner of the vectors in plain Python: python runner.py vectors.json results.json [fault]."""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from typing import Any

Vector = list[float]
Level = list[float]


def denoised(model: dict[str, Any], x: Vector, level: Level) -> Vector:
    """E[x0 | x] of the mixture."""
    _, alpha, sigma, _ = level
    logs, means = [], []
    for w, m, v in zip(model["weights"], model["means"], model["variances"], strict=True):
        total = alpha * alpha * v + sigma * sigma
        square = sum((a - alpha * b) ** 2 for a, b in zip(x, m, strict=True))
        logs.append(math.log(w) - 0.5 * len(x) * math.log(total) - 0.5 * square / total)
        means.append([b + alpha * v / total * (a - alpha * b) for a, b in zip(x, m, strict=True)])
    top = max(logs)
    gammas = [math.exp(value - top) for value in logs]
    return [sum(g * mean[i] for g, mean in zip(gammas, means, strict=True)) / sum(gammas) for i in range(len(x))]


def plus(*terms: tuple[float, Vector]) -> Vector:
    """Σ c v."""
    return [sum(c * v[i] for c, v in terms) for i in range(len(terms[0][1]))]


def trajectory(model: dict[str, Any], case: dict[str, Any], x: Vector, noise: list[Vector], fault: str) -> Vector:
    """The state at the last level; ``fault`` plants one."""
    past: tuple[Level, Vector] | None = None
    levels = case["levels"]
    for i, (s, t) in enumerate(pairwise(levels)):
        h, d = t[3] - s[3], denoised(model, x, s)
        if case["method"] == "heun":
            rho_s, rho_t = s[2] / s[1], t[2] / t[1]
            y = plus((1.0 / s[1], x))
            first = plus((1.0 / rho_s, y), (-1.0 / rho_s, d))
            u = plus((1.0, y), (rho_t - rho_s, first))
            d_t = denoised(model, plus((t[1], u)), t)
            second = plus((1.0 / rho_t, u), (-1.0 / rho_t, d_t))
            half = 0.5 * (rho_t - rho_s)
            x = plus((t[1], plus((1.0, y), (half, first), (half, second))))
        elif case["method"] == "ddpm":
            std = t[2] * math.sqrt(-math.expm1(-2.0 * h))
            x = plus((t[2] / s[2] * math.exp(-h), x), (-t[1] * math.expm1(-2.0 * h), d), (std, noise[i]))
        else:
            mixed = d
            if case["method"] == "dpmpp_2m" and past is not None and fault != "no memory":
                h_old = s[3] - past[0][3]
                weight = 0.5 * h / h_old
                weight = {"missing factor 1/2": 2.0 * weight, "sign of the correction": -weight}.get(fault, weight)
                weight = 0.5 * h_old / h if fault == "step ratio inverted" else weight
                mixed = plus((1.0 + weight, d), (-weight, past[1]))
            past = (s, d)
            if not (fault == "last step left out" and case["method"] == "dpmpp_2m" and i == len(levels) - 2):
                x = plus((t[2] / s[2], x), (-t[1] * math.expm1(-h), mixed))
    return x


def answer(model: dict[str, Any], case: dict[str, Any], fault: str) -> Any:
    """The answer to a case."""
    if case["kind"] == "trajectory":
        noise = [[step[b] for step in case["noise"]] for b in range(len(case["x"]))]
        return [trajectory(model, case, x, n, fault) for x, n in zip(case["x"], noise, strict=True)]
    if case["kind"] == "density":
        s, t = case["levels"]
        h = t[3] - s[3]
        variance = -t[2] * t[2] * math.expm1(-2.0 * h)
        out = []
        for x, y in zip(case["x"], case["y"], strict=True):
            mean = plus((t[2] / s[2] * math.exp(-h), x), (-t[1] * math.expm1(-2.0 * h), denoised(model, x, s)))
            square = sum((a - b) ** 2 for a, b in zip(y, mean, strict=True))
            out.append(-0.5 * square / variance - 0.5 * len(x) * math.log(2.0 * math.pi * variance))
        return out
    if case["kind"] == "grid":
        o = case["options"]
        if case["method"] == "karras":
            a, b = o["sigma_max"] ** (1.0 / o["rho"]), o["sigma_min"] ** (1.0 / o["rho"])
            return [(a + i / o["n"] * (b - a)) ** o["rho"] for i in range(int(o["n"]) + 1)] + [0.0]
        n, shift = int(o["n"]), o["shift"]
        ts = [1.0 + i * (1.0 / n - 1.0) / (n - 1) for i in range(n)]
        return [shift * t / (1.0 + (shift - 1.0) * t) for t in ts] + [0.0]
    tokens = []
    for p, u in zip(case["probabilities"], case["uniforms"], strict=True):
        total, token = 0.0, max(k for k, q in enumerate(p) if q > 0.0)
        for k, q in enumerate(p):
            total += q
            if u < total:
                token = k
                break
        tokens.append(token)
    return tokens


def main() -> None:
    """Read the vectors, write the results."""
    source, target, *rest = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        pack = json.load(file)
    results = {case["id"]: answer(pack["model"], case, rest[0] if rest else "") for case in pack["cases"]}
    with open(target, "w", encoding="utf-8") as file:
        json.dump({"runner": "python", "version": pack["version"], "results": results}, file)


if __name__ == "__main__":
    main()

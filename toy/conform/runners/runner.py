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


def memory(h: float, old: float, fault: str) -> float:
    """The weight of D_s − D_r."""
    if fault in ("no memory", "weights of equal steps"):
        return 0.0 if fault == "no memory" else 0.5
    weight = 0.5 * old / h if fault == "step ratio inverted" else 0.5 * h / old
    return weight * {"missing factor 1/2": 2.0, "sign of the correction": -1.0}.get(fault, 1.0)


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
            if case["method"] == "dpmpp_2m" and past is not None:
                weight = memory(h, s[3] - past[0][3], fault)
                mixed = plus((1.0 + weight, d), (-weight, past[1]))
            past = (s, d)
            if not (fault == "last step left out" and case["method"] == "dpmpp_2m" and i == len(levels) - 2):
                x = plus((t[2] / s[2], x), (-t[1] * math.expm1(-h), mixed))
    return x


def coefficients(method: str, levels: list[Level], fault: str) -> list[Vector]:
    """For every step the weights of x_s, D_s, D_r; for unipc_2 those of the corrector besides: of x_s, D_u, D_s, D_r."""
    rows: list[Vector] = []
    old = 0.0
    for s, t in pairwise(levels):
        h = t[3] - s[3]
        ratio, gain = t[2] / s[2], -t[1] * math.expm1(-h)
        w = memory(h, old, fault) if rows else 0.0
        g = h if fault == "weights of equal steps" else old
        k1 = t[1] * h - gain
        k2 = t[1] * h * h - 2.0 * k1
        new, last = ((k2 + g * k1) / (h * (h + g)), (k2 - h * k1) / (g * (h + g))) if rows else (0.5 * gain, 0.0)
        row = [ratio, gain * (1.0 + w), -gain * w]
        rows.append({"ddim": [ratio, gain], "dpmpp_2m": row}.get(method, [*row, ratio, new, gain - new - last, last]))
        old = h
    return rows


def law(case: dict[str, Any], mean: float, variance: float, fault: str) -> Vector:
    """Mean and standard deviation of the output on N(mean, variance): runs from the mean, each with one source of noise."""
    s, steps = case["levels"][0], len(case["levels"]) - 1
    model = {"weights": [1.0], "means": [[mean]], "variances": [variance]}
    start, spread = s[1] * mean, math.sqrt(s[1] ** 2 * variance + s[2] ** 2)
    still = [[0.0]] * steps
    centre = trajectory(model, case, [start], still, fault)[0]
    ends = [trajectory(model, case, [start + spread], still, fault)[0]]
    ends += [trajectory(model, case, [start], [[float(i == j)] for j in range(steps)], fault)[0] for i in range(steps)]
    total = sum((end - centre) ** 2 for end in ends)
    return [centre, total if fault == "variance in place of standard deviation" else math.sqrt(total)]


def philox(row: list[int], fault: str) -> list[int]:
    """Philox4x32-10 at the counter and the key of the row."""
    c0, c1, c2, c3, k0, k1 = row
    for _ in range(7 if fault == "seven rounds in place of ten" else 10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & 0xFFFFFFFF, (p0 >> 32) ^ c3 ^ k1, p0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [c0, c1, c2, c3]


def normals(w: list[int], fault: str) -> Vector:
    """Box-Muller on two pairs of words."""
    out: Vector = []
    for a, b in ((w[0], w[1]), (w[2], w[3])):
        r, phi = math.sqrt(-2.0 * math.log((a + 0.5) / 2.0**32)), 2.0 * math.pi * (b + 0.5) / 2.0**32 - math.pi
        pair = [r * math.cos(phi), r * math.sin(phi)]
        out += pair[::-1] if fault == "sine and cosine swapped" else pair
    return out


def step(method: str, p: Vector, row: Vector, fault: str) -> Vector:
    """P(x_t = y | x_s = x) of one token."""
    (x, a, b, h, falls), n = row, len(p)

    def kernel(c: float, k: int, y: int) -> float:
        return c * (k == y) + (1.0 - c) / n

    if method.startswith("absorbing"):
        gain = h * falls / (1.0 - a) if method.endswith("euler") else (b - a) / (1.0 - a)
        jumps = [gain * q if x == n else 0.0 for q in p] + [0.0]
    else:
        euler, jumps = method.endswith("euler"), []
        for y in range(n):
            bayes = sum(q * kernel(a if euler else b, k, y) / kernel(a, k, int(x)) for k, q in enumerate(p))
            rate = h * falls / (a * n) if y != x else 0.0
            jumps.append(bayes * (rate if euler else kernel(a / b, y, int(x))))
    total = sum(jumps)
    if total > 1.0 and fault != "probabilities not renormalised":
        jumps = [jump / total for jump in jumps]
    jumps[int(x)] += max(0.0, 1.0 - total)
    return jumps


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
    if case["kind"] == "noise":
        words = [philox(row, fault) for row in case["rows"]]
        return [normals(w, fault) for w in words] if case["method"] == "box-muller" else words
    if case["kind"] == "coefficients":
        return coefficients(case["method"], case["levels"], fault)
    if case["kind"] == "law":
        return [law(case, mean, variance, fault) for mean, variance in case["rows"]]
    if case["kind"] == "step":
        return [step(case["method"], p, row, fault) for p, row in zip(case["probabilities"], case["rows"], strict=True)]
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

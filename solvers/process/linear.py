r"""Linear processes: the state given the data is Gaussian, and every step with a constant prediction is known exactly.

With m what a model gives (x0; x0 and v0; x0 and x1), the forward law is z_t = A_t m + noise of covariance Σ_t, and for constant m both the
probability flow and the reverse SDE from s to t are

    z_t = A z_s + B m + C ξ,      eta = 0: the flow, C = 0;      eta = 1: the reverse SDE, z_t ~ q(z_t | z_s, m),

the first-order exponential step of the process: DDIM and DDPM on a schedule. It is a ``Transfer``: matrices between the components of
states, which act alike on every coordinate of the arrays and so are Python floats. What a step freezes is m, a number where the score is
not, and so the step is exact on a point mass.

In small steps the same motions are dz = (P z + Q m) dt + G dW, t running backwards; ``rates`` has P, Q and G.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from scorebed.solvers.state import Array, NonFinite, State, bare, check_alike, check_like, check_state, is_finite, parts
from scorebed.solvers.weights.lagrange import monomials

Matrix = tuple[tuple[float, ...], ...]
Variable = Callable[[Any], tuple[float, float]]
_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(16))


class Transfer(NamedTuple):
    """z_t = A z_s + B m + C ξ: ``a``, ``b`` and ``c`` by rows, one row for each component of the state."""

    a: Matrix
    b: Matrix
    c: Matrix

    def __call__(self, z: State, m: State, xi: State | None = None) -> State:
        """The state that comes of the state ``z``, the prediction ``m`` and the draws ``xi``, which may be left out where C = 0.

        Returns:
            the new state, like z.

        Raises:
            ValueError: no draws where C is not 0.
        """
        noisy = any(c for row in self.c for c in row)
        if noisy and xi is None:
            raise ValueError("this transfer adds noise: give the draws of the step, noise(s, t)")
        values = (*parts(z), *parts(m), *(parts(xi) if noisy else ()))
        rows = zip(self.a, self.b, self.c, strict=True)
        return bare(tuple(_sum((*a, *b, *(c if noisy else ())), values) for a, b, c in rows))


def _sum(coefficients: Sequence[float], values: Sequence[Array]) -> Array:
    """Σ c value over the coefficients that are not 0."""
    terms = [(c, value) for c, value in zip(coefficients, values, strict=True) if c]
    if not terms:
        return 0.0 * values[0]
    out = terms[0][0] * terms[0][1]
    for c, value in terms[1:]:
        out = out + c * value
    return out


class LinearProcess:
    """A process with transfers. ``forward``, ``transfer`` and ``rates`` are what one kind differs from another in."""

    kind: str
    state: tuple[str, ...]
    gives: tuple[str, ...]
    draws: int

    def forward(self, node: Any) -> tuple[Matrix, Matrix]:
        """(A_t, Σ_t) of z_t = A_t m + noise of covariance Σ_t."""
        raise NotImplementedError

    def transfer(self, s: Any, t: Any, eta: float = 0.0) -> Transfer:
        """The exact step from ``s`` to ``t`` for a constant prediction: of the flow, eta = 0, or of the reverse SDE, eta = 1."""
        raise NotImplementedError

    def rates(self, node: Any, eta: float = 1.0) -> Transfer:
        """(P, Q, G) of dz = (P z + Q m) dt + G dW: of the reverse SDE, eta = 1, or of the flow, eta = 0."""
        raise NotImplementedError

    def noising(self, node: Any) -> Transfer:
        """(F, H, G) of the forward dz = (F z + H m) dt + G dW, t running on: the reverse SDE less G Gᵀ Σ^{-1} (z − A m)."""
        (p, q, g), (a, spread) = self.rates(node, 1.0), self.forward(node)
        pull = np.array(g) @ np.array(g).T @ np.linalg.inv(np.array(spread))
        f, h = np.array(p) - pull, np.array(q) + pull @ np.array(a)
        return Transfer(tuple(map(tuple, f.tolist())), tuple(map(tuple, h.tolist())), g)

    def amount(self, node: Any, eta: float) -> float:
        """η, or what it must be for a step to leave this node at all."""
        return eta

    def euler(self, s: Any, t: Any, eta: float = 1.0) -> Transfer:
        """The step of Euler and Maruyama: (1 + P h, Q h, G sqrt|h|) with h = t − s and the rates at s."""
        rates, h = self.rates(s, eta), t.t - s.t
        a = tuple(tuple(float(i == j) + h * p for j, p in enumerate(row)) for i, row in enumerate(rates.a))
        return Transfer(a, scaled(h, rates.b), scaled(math.sqrt(abs(h)), rates.c))

    def weights(self, nodes: Sequence[Any], s: Any, t: Any, eta: float = 0.0, variable: Variable | None = None) -> list[Matrix]:
        r"""W_j of z_t = A z_s + Σ_j W_j m_j, where m is the polynomial in the clock through m_j at ``nodes``: exponential multistep.

        With B(τ, t) that of ``transfer``, W_j = −∫ ℓ_j(τ) dB(τ, t) = B(s, t) ℓ_j(s) + ∫_s^t ℓ_j'(τ) B(τ, t) dτ, so that Σ_j W_j = B(s, t).
        By 16-point Gauss-Legendre quadrature in the clock. ``variable``: node -> (u, du/dclock), where m is to be a polynomial in u.

        Returns:
            the matrices W_j, one for each of ``nodes``.
        """
        h, whole = t.clock - s.clock, self.transfer(s, t, eta).b
        if h == 0.0:
            return [scaled(0.0, whole) for _ in nodes]
        at = variable or (lambda node: (node.clock, 1.0))
        begin, length = at(s)[0], at(t)[0] - at(s)[0]
        polynomials = [monomials([(at(node)[0] - begin) / length for node in nodes], j) for j in range(len(nodes))]
        places = [s.toward(t, 0.5 * (1.0 + p)) for p in _POINTS]
        inside = [self.transfer(place, t, eta).b for place in places]
        out = []
        for c in polynomials:
            slopes = []
            for place, w in zip(places, _WEIGHTS, strict=True):
                value, slope = at(place)
                u = (value - begin) / length
                slopes.append(0.5 * w * h * slope / length * sum(k * c[k] * u ** (k - 1) for k in range(1, len(c))))
            out.append(total([(c[0], whole), *zip(slopes, inside, strict=True)]))
        return out

    def multistep(self, nodes: Sequence[Any], s: Any, t: Any, eta: float = 0.0, variable: Variable | None = None) -> Transfer:
        """The motion from ``s`` to ``t`` for the polynomial through the predictions at ``nodes``, which follow one another in its ``m``."""
        weights, whole = self.weights(nodes, s, t, eta, variable), self.transfer(s, t, eta)
        return Transfer(whole.a, tuple(tuple(v for w in weights for v in w[i]) for i in range(len(self.state))), whole.c)

    def check(self, x: State, name: str = "x") -> None:
        """Refuse what is not finite floating-point arrays of one shape and dtype, one for each component."""
        if len(self.state) > 1 and not (isinstance(x, tuple) and len(x) == len(self.state)):
            raise TypeError(f"{name} is a {type(x).__name__}: give the tuple ({', '.join(self.state)}) of arrays (..., d)")
        if len(self.state) == 1 and isinstance(x, tuple):
            raise TypeError(f"{name} is a tuple of {len(x)}, and the process of the grid has one component: give an array (..., d)")
        for part, called in zip(parts(x), (name,) if len(self.state) == 1 else self.state, strict=True):
            check_state(part, called)
            check_like(part, parts(x)[0], called)

    def check_output(self, value: State, x: State, what: str) -> None:
        """Refuse what is not, for each thing that a model gives, an array of the state's own shape and dtype."""
        one = parts(x)[0]
        check_alike(value, bare((one,) * len(self.gives)), what)

    def noise(self, source: Any, s: Any, t: Any) -> State:
        """Unit normals of the state's shape, as many as there are draws."""
        return bare(tuple(source(s, t) if k == 0 else source(s, t, k) for k in range(self.draws)))

    def check_noise(self, value: State, x: Array, where: str) -> None:
        """Refuse draws that are not, each, a finite array of the shape and dtype of ``x``, a component of the state."""
        if len(parts(value)) != self.draws:
            raise ValueError(f"noise(s, t) {where} has {len(parts(value))} parts, the process draws {self.draws}")
        for part in parts(value):
            check_like(part, x, f"noise(s, t) {where}")
        if not is_finite(value):
            raise NonFinite(f"noise returned nan or inf {where}")

    def clean(self, prediction: State) -> State:
        """The components of the state among what is predicted, which come first."""
        return bare(parts(prediction)[: len(self.state)])


class ScalarProcess(LinearProcess):
    r"""What a schedule is as a process: x_t = α x0 + σ ε, the clock is lam = log(α/σ), a model gives the denoised mean.

    A = (σ_t/σ_s) e^{−ηh},  B = α_t (1 − e^{−(1+η)h}),  C = σ_t sqrt(1 − e^{−2ηh}),  h = λ_t − λ_s.
    """

    kind = "gaussian"
    state = ("x",)
    gives = ("denoised",)
    draws = 1

    def at(self, clock: float) -> Any:
        """The node at lam = ``clock``."""
        return cast(Any, self).at_lam(clock)

    def forward(self, node: Any) -> tuple[Matrix, Matrix]:
        return ((node.alpha,),), ((node.sigma**2,),)

    def transfer(self, s: Any, t: Any, eta: float = 0.0) -> Transfer:
        h = t.lam - s.lam
        b, c = -t.alpha * math.expm1(-(1.0 + eta) * h), t.sigma * math.sqrt(-math.expm1(-2.0 * eta * h)) if eta else 0.0
        return Transfer((((t.sigma / s.sigma) * math.exp(-eta * h),),), ((b,),), ((c,),))

    def rates(self, node: Any, eta: float = 1.0) -> Transfer:
        schedule = cast(Any, self)
        if not hasattr(schedule, "g2"):
            raise ValueError(f"{node} has schedule=None and knows no rates: make it by schedule.node(t)")
        g2 = schedule.g2(node.t)
        share = 0.5 * (1.0 + eta) * g2 / node.sigma**2
        return Transfer(((schedule.f(node.t) + share,),), ((-share * node.alpha,),), ((math.sqrt(eta * g2),),))


SCALAR = ScalarProcess()
"""Stands in where a node carries no process, or a schedule of the user's own that has only the six members of ``Schedule``."""


def total(terms: Sequence[tuple[float, Matrix]]) -> Matrix:
    """Σ c M."""
    return tuple(tuple(math.fsum(c * m[i][j] for c, m in terms) for j in range(len(row))) for i, row in enumerate(terms[0][1]))


def scaled(c: float, m: Matrix) -> Matrix:
    """c M."""
    return tuple(tuple(c * v for v in row) for row in m)


def times(a: Matrix, b: Matrix) -> Matrix:
    """A B."""
    return tuple(tuple(math.fsum(u * v for u, v in zip(row, column, strict=True)) for column in zip(*b, strict=True)) for row in a)


def transposed(m: Matrix) -> Matrix:
    """Mᵀ."""
    return tuple(zip(*m, strict=True))


def inverse(m: Matrix) -> Matrix:
    """The inverse of a matrix of two rows."""
    (a, b), (c, d) = m
    det = a * d - b * c
    return (d / det, -b / det), (-c / det, a / det)


def cholesky(m: Matrix) -> Matrix:
    """The lower triangular root of a covariance of two components."""
    (xx, _), (xv, vv) = m
    a = math.sqrt(xx)
    return (a, 0.0), (xv / a, math.sqrt(max(vv - xv * xv / xx, 0.0)))

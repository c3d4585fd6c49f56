"""The draws of other people's samplers of tokens, answered by us: what a sampler asks of ``numpy.random`` or torch goes to a source.

A source answers two questions: ``choose(p)``, one value for each row of probabilities, and ``uniform(shape, dtype)``. ``Seeded`` draws,
``Course`` follows one course of answers and asks where they end, so that all courses can be walked, ``Edge`` gives the least or the largest
uniform number that there is. Generators that were made before the call are not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from unittest import mock

import numpy as np

from scorebed.solvers.draws import categorical
from scorebed.toy.foreign.threshold import Uniform, uniform, uniform_tensor

S = TypeVar("S", bound="Source")


class Open(BaseException):
    """A choice that has no answer yet: probabilities (rows, values)."""

    def __init__(self, p: np.ndarray) -> None:
        self.p = p


class Source:
    """What answers. ``kinds`` collects what was asked for: "uniform float32", "choice float64", …"""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def choose(self, p: np.ndarray) -> np.ndarray:
        """One value for each row of p (rows, values)."""
        raise NotImplementedError

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Uniform numbers of [0, 1) as ``dtype`` has them."""
        raise NotImplementedError


class Seeded(Source):
    """Draws, from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def choose(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(categorical(p, self.rng.random(len(p))))

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self.rng.random(shape, dtype=np.float32 if np.dtype(dtype).itemsize <= 4 else np.float64).astype(dtype)


class Course(Source):
    """The answers so far, in order."""

    def __init__(self, answers: list[np.ndarray]) -> None:
        super().__init__()
        self.answers, self.asked = answers, 0

    def choose(self, p: np.ndarray) -> np.ndarray:
        if self.asked == len(self.answers):
            raise Open(p)
        self.asked += 1
        return self.answers[self.asked - 1]

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Numbers that are answered when they are compared with probabilities, and not before."""
        return uniform(shape, dtype, self.choose)


class Edge(Source):
    """The uniform number next to 1 (or 0) for the values of ``mark``, ½ for the others; the most likely choices."""

    def __init__(self, mark: int, top: bool = True) -> None:
        super().__init__()
        self.mark, self.top = mark, top

    def choose(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(p.argmax(-1))

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        out = np.full(shape, 0.5, dtype)
        last = 2.0**-24 if np.dtype(dtype).itemsize <= 4 else 2.0**-53
        if shape and shape[-1] > self.mark:
            out[..., self.mark] = 1.0 - last if self.top else 0.0
        return out


class Turned(Source):
    """Whatever source it is turned to."""

    source: Source

    def choose(self, p: np.ndarray) -> np.ndarray:
        return self.source.choose(p)

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self.source.uniform(shape, dtype)


def _rows(p: Any) -> np.ndarray:
    q = np.asarray(p, dtype=np.float64)
    return q.reshape(-1, q.shape[-1])


class Generator:
    """As much of ``numpy.random.Generator`` as samplers of tokens use, from a source."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        shape = () if size is None else (size,) if np.isscalar(size) else tuple(size)
        self._source.kinds.add(f"uniform {np.dtype(dtype).name}")
        value = self._source.uniform(shape, dtype)
        return value if shape or isinstance(value, Uniform) else value[()]

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        return low + (high - low) * self.random(size)

    def gumbel(self, loc: float = 0.0, scale: float = 1.0, size: Any = None) -> Any:
        with np.errstate(divide="ignore"):
            return loc - scale * np.log(-np.log(self.random(size)))

    def exponential(self, scale: float = 1.0, size: Any = None) -> Any:
        return -scale * np.log1p(-self.random(size))

    def standard_exponential(self, size: Any = None, dtype: Any = np.float64) -> Any:
        return -np.log1p(-self.random(size, dtype))

    def _choose(self, p: Any) -> np.ndarray:
        self._source.kinds.add(f"choice {np.asarray(p).dtype.name}")
        return self._source.choose(_rows(p))

    def choice(self, a: Any, size: Any = None, replace: bool = True, p: Any = None) -> Any:
        values = np.arange(int(a)) if np.ndim(a) == 0 else np.asarray(a)
        weights = np.full(len(values), 1.0 / len(values)) if p is None else np.asarray(p)
        if size is None:
            return values[self._choose(weights)[0]]
        count = int(np.prod(size))
        if replace:
            return values[self._choose(np.broadcast_to(weights, (count, len(values))))].reshape(size)
        taken: list[int] = []
        for _ in range(count):
            left = np.where(np.isin(np.arange(len(values)), taken), 0.0, weights)
            taken.append(int(self._choose(left)[0]))
        return values[taken].reshape(size)

    def permutation(self, x: Any) -> Any:
        return self.choice(x, len(x) if np.ndim(x) else x, replace=False)

    def integers(self, low: int, high: int | None = None, size: Any = None, **kwargs: Any) -> Any:
        first, last = (0, low) if high is None else (low, high)
        return first + self.choice(last - first, size)

    def multinomial(self, n: int, pvals: Any, size: Any = None) -> Any:
        if n != 1 or size is not None:
            raise NotImplementedError("multinomial is answered for n = 1 only")
        p = np.asarray(pvals)
        return np.eye(p.shape[-1], dtype=np.int64)[self._choose(p)].reshape(p.shape)


@contextmanager
def answered(source: S) -> Iterator[S]:
    """For the time of a ``with``, ``numpy.random`` and torch ask the source."""
    fake = Generator(source)
    patches: list[Any] = [mock.patch.object(np.random, "default_rng", return_value=fake)]
    old: dict[str, Callable[..., Any]] = {
        "rand": lambda *shape: fake.random(shape or None),
        "random": fake.random,
        "random_sample": fake.random,
        "uniform": fake.uniform,
    }
    old |= {"choice": fake.choice, "gumbel": fake.gumbel, "multinomial": fake.multinomial, "exponential": fake.exponential}
    old |= {"permutation": fake.permutation}
    patches += [mock.patch.object(np.random, name, made) for name, made in old.items()]
    if "torch" in sys.modules:
        patches += _torch(source)
    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield source


def _torch(source: Source) -> list[Any]:
    """The same for the draws of torch."""
    import torch

    def rand(*sizes: Any, size: Any = None, dtype: Any = None, device: Any = None, generator: Any = None, **kwargs: Any) -> Any:
        sizes = sizes if size is None else tuple(size)
        shape = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else tuple(sizes)
        kind = np.dtype(str(dtype or torch.get_default_dtype()).removeprefix("torch."))
        source.kinds.add(f"uniform {kind.name}")
        value = source.uniform(shape, kind)
        if isinstance(value, Uniform):
            return uniform_tensor(shape, dtype or torch.get_default_dtype(), value.ask)
        return torch.from_numpy(np.ascontiguousarray(value)).to(device=device)

    def multinomial(p: Any, num_samples: int, replacement: bool = False, **kwargs: Any) -> Any:
        source.kinds.add(f"choice {str(p.dtype).removeprefix('torch.')}")
        rows = _rows(p.detach().cpu().numpy()).repeat(num_samples, 0) if replacement else _rows(p.detach().cpu().numpy())
        if num_samples != 1 and not replacement:
            raise NotImplementedError("torch.multinomial without replacement is answered for one sample only")
        return torch.from_numpy(np.array(source.choose(rows))).reshape(*p.shape[:-1], num_samples).to(p.device)

    def bernoulli(p: Any, *args: Any, **kwargs: Any) -> Any:
        q = p.detach().cpu().numpy().astype(np.float64).ravel()
        return torch.from_numpy(np.array(source.choose(np.stack((1.0 - q, q), -1)))).reshape(p.shape).to(p)

    def fill(self: Any, *args: Any, **kwargs: Any) -> Any:
        low, high = (*args, 0.0, 1.0)[:2] if len(args) == 2 else (0.0, 1.0)
        return self.copy_(low + (high - low) * rand(tuple(self.shape), dtype=self.dtype))

    def exponential(self: Any, lambd: float = 1.0, **kwargs: Any) -> Any:
        return self.copy_(-torch.log1p(-rand(tuple(self.shape), dtype=self.dtype)) / lambd)

    def randint(low: int, high: int | None = None, size: Any = None, **kwargs: Any) -> Any:
        first, last, shape = (0, low, high) if size is None else (low, high, size)
        n, count = int(last) - int(first), int(np.prod(tuple(shape)))  # type: ignore[arg-type]
        chosen = source.choose(np.full((count, n), 1.0 / n))
        return torch.from_numpy(np.array(chosen)).reshape(tuple(shape)) + int(first)  # type: ignore[arg-type]

    def rand_like(x: Any, dtype: Any = None, **kwargs: Any) -> Any:
        return rand(tuple(x.shape), dtype=dtype or x.dtype)

    made: list[tuple[Any, str, Callable[..., Any]]] = [
        (torch, "rand", rand),
        (torch, "rand_like", rand_like),
        (torch, "randint", randint),
        (torch, "multinomial", multinomial),
        (torch, "bernoulli", bernoulli),
        (torch.Tensor, "uniform_", fill),
        (torch.Tensor, "exponential_", exponential),
    ]
    return [mock.patch.object(where, name, function) for where, name, function in made]


def courses(run: Callable[[Source], np.ndarray], most: int = 20_000, faint: float = 1e-14) -> dict[tuple[int, ...], float]:
    """The law of what ``run(source)`` gives for one sample: every course of its choices walked, by repeated runs.

    Returns:
        probability by outcome, a tuple of tokens.

    Raises:
        Continuous: it does more with a uniform number than to compare it once.
        OverflowError: more than ``most`` runs.
    """
    with answered(Turned()) as now:
        return _walk(run, now, most, faint)


def _walk(run: Callable[[Source], np.ndarray], now: Turned, most: int, faint: float) -> dict[tuple[int, ...], float]:
    out: dict[tuple[int, ...], float] = {}
    stack: list[tuple[list[np.ndarray], float]] = [([], 1.0)]
    runs = 0
    while stack:
        answers, weight = stack.pop()
        runs += 1
        if runs > most:
            raise OverflowError(f"more than {most} courses")
        try:
            now.source = Course(answers)
            x = tuple(int(v) for v in np.asarray(run(now)).ravel())
            out[x] = out.get(x, 0.0) + weight
        except Open as ask:
            total = ask.p.sum(-1, keepdims=True)
            p = np.where(total > 0, ask.p / np.where(total > 0, total, 1.0), 0.0)
            if not (np.isfinite(ask.p).all() and (ask.p >= 0).all() and (total > 0).all()):
                raise ValueError("a draw from what is no law: probabilities must be finite, at least 0, and positive in sum") from None
            joint: list[tuple[list[int], float]] = [([], weight)]
            for row in p:
                joint = [([*v, int(k)], w * row[k]) for v, w in joint for k in np.flatnonzero(row) if w * row[k] > faint]
            stack += [([*answers, np.array(v)], w) for v, w in joint]
    return out

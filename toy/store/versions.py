"""The versions that results depend on."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("scorebed", "numpy", "scipy", "pandas", "matplotlib", "scikit-learn")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of the packages."""
    return {"python": platform.python_version(), "platform": sys.platform, **{name: version_of(name) for name in packages}}


def version_of(package: str) -> str:
    """The version that is installed here, in words where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def numerical(packages: Sequence[str] = ("numpy", "scipy", "scikit-learn")) -> dict[str, str]:
    """The versions that enter the key of a row: what computes, and not where."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), **{name: version_of(name) for name in packages}}

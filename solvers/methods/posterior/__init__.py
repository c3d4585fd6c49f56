"""Posterior samplers: what is x0, given y = A x0 + n? One family per file; importing this fills ``solvers.inverse.METHODS``."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

"""The room of torch: everything here runs a ``Plan`` traced from ``solvers`` on batches, on any torch device.

Nothing is exported yet. The packages ``solvers``, ``analytic`` and ``toy`` work without this one and without torch; when they load
they import neither.
"""

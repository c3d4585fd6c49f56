"""Conformance: conventions of grids, the checker of grids, vectors for any language."""

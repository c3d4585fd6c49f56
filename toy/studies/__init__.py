"""Studies: many measurements, tabulated."""

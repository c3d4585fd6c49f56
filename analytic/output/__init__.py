"""The exact law of a solver's output."""

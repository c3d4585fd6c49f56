"""Truth on finite states: joint tables of a few tokens, where every law is a vector, and chains for long sequences."""

from scorebed.analytic.finite.table import TableLaw, total_correlation, total_variation

__all__ = ["TableLaw", "total_correlation", "total_variation"]

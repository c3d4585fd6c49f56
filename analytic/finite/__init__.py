"""Truth on finite states: joint tables of a few tokens, where every law is a vector, and chains for long sequences."""

from scorebed.analytic.finite.table import Known, TableLaw, entropy, kl, total_correlation, total_variation

__all__ = ["Known", "TableLaw", "entropy", "kl", "total_correlation", "total_variation"]

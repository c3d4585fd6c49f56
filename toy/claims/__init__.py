"""Claims of papers as runnable experiments, each with a negative control that must fail."""

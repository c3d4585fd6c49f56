"""The spaces that reflected and Riemannian solvers move in, one file each."""

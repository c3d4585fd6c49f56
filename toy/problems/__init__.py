"""What a solver is tried on: targets, grids, exact answers, references."""

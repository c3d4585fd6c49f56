"""check_solver: one call that tells whether a sampler is right."""

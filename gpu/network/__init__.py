"""Networks as models: wrapping, conditions, guidance."""

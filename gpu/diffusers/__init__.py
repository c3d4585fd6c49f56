"""The scheduler for diffusers, and pipelines by name."""

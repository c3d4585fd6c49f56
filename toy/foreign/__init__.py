"""Samplers and solvers of other libraries, made into something that can be measured."""

"""Steering: rules of guidance, composition of models, search, particles. Guides are models of models; what needs a loop has one."""

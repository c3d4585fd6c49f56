"""Runners of the vectors in several languages, each of about a hundred lines and without any dependency."""

"""One resumable store behind every study, and the running of the work that fills it. It knows nothing of what is measured.

code        which source files a result depends on, and a digest of them
key         a digest of everything that determines a row
files       files written whole or not at all; folders looked at before any work
database    the store: SQLite, a row on disk the moment it is known
owner       whose results lie in a folder
tasks       rows that depend on one another, and who computes them: here, on all cores, on a cluster
tables      reading, filtering, comparing and exporting what is kept
"""

"""One resumable store behind every study, and the running of the work that fills it. It knows nothing of what is measured.

- ``code``: which source files a result depends on, and a digest of them; ``versions``: of packages.
- ``key``: a digest of everything that determines a row.
- ``files``: written whole or not at all; folders looked at before any work. ``owner``: whose results lie in a folder.
- ``database``: the store, SQLite: a row is on disk the moment it is known.
- ``tasks``: rows that depend on one another. ``engines``: who computes them, this process, all cores or a cluster.
- ``work``: all of it together, what a study calls.
- ``tables``: reading, filtering, comparing and exporting what is kept.
"""

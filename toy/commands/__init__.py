"""One file per command of ``scorebed``; every file of this folder is imported by ``toy.cli`` and enters its command by ``@main.command``.

A command checks what it was given, calls a function of ``toy`` and prints; heavy imports stand inside it, so that ``--help`` is quick.
"""

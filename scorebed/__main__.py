"""``python -m scorebed``: the command, where the script is not on the path."""

from scorebed.toy.cli import main

if __name__ == "__main__":
    main()

"""The samplers of other libraries, held against exact truth: the scoreboard."""

"""The best method for a model at a budget: found among those there are (``advise``), or made (``tune``)."""

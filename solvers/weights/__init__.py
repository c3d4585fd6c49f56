"""What steps multiply with: exact propagators (``exponential``), the weights of multistep methods (``multistep``, by the polynomials of
``lagrange``), and tableaux of Runge–Kutta methods with the one helper that runs them (``tableau``)."""

"""How an order is measured, and the exact laws of chains by quadrature."""

"""What is spent outside the network, as ratios."""

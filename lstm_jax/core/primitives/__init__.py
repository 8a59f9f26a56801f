"""Products, elementwise equations and activations, with derivatives of our own."""

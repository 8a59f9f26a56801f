"""Products, elementwise equations and activations, with our own derivatives."""

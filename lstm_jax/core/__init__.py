"""The mathematics. Needs JAX alone. Its rooms, from the ground up:

primitives    products and elementwise equations, with their derivatives
cells         the LSTM and its family, each in one file
recurrence    a cell over a sequence, `unroll` and its derivative rule
layers        two directions, stacks, sequences that come in pieces
"""

"""The equations. Needs only JAX. The rooms, from the ground up:

primitives    products and elementwise equations, with their derivatives
cells         the LSTM and its variants, one file each
recurrence    runs a cell over a sequence: `unroll` and its derivative rule
layers        bidirectional layers, stacks, streams
"""

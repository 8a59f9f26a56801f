"""What all kernels of the LSTM share: derivatives, ``vmap``, meshes, and a scan."""

"""The LSTM in C++ behind `jax.ffi`, for CPUs."""

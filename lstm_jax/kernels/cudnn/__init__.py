"""cuDNN's LSTM through `jax.experimental.rnn`, for NVIDIA GPUs."""

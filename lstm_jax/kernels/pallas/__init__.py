"""The LSTM as one persistent kernel a direction, in Pallas for Triton, for GPUs."""

"""Files of tensors, of many formats, and the folder that ``lstm-jax import`` writes."""

"""Short scripts that each answer one question about speed, memory or precision."""

"""What runs on Lambda: a payload is unwrapped, the work done, the result wrapped."""

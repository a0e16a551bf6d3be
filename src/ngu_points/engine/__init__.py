"""What events mean. Pure: no I/O, no clock, no randomness."""

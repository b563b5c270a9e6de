"""Measurements against peers and bars. Run by a command, never as timed tests."""

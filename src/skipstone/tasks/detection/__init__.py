"""Object detection: boxes around objects of known classes."""

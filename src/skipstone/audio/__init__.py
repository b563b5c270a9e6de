"""Recordings: decoding, log-mel spectrograms, audit, augmentation, automatic choice of a model."""

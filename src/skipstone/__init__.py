"""Labelled data in; a small, fast, proven model out."""

"""Inception v3, its pretrained weights, and its checkpoints."""

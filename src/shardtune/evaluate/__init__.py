"""Measure a trained model."""

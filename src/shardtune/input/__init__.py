"""From a data directory to batches of images and labels."""

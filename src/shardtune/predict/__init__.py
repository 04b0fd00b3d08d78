"""Say which classes images show, by the network of a run."""

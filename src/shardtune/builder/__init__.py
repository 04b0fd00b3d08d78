"""From folders of images to shards, over MPI ranks. Imports no TensorFlow."""

"""Images to sharded TFRecords with MPI, Inception v3 fine-tuned with Horovod."""

from importlib.metadata import version

__version__ = version("shardtune")
